// Search in the text of all pages: every word must be in a part; parts whose heading has it come first.
const question = document.getElementById("search");
const state = document.getElementById("search-status");
const list = document.getElementById("search-results");
const MOST = 30;
let parts = null;

function load() {
  if (parts) { return; }
  parts = [];
  const script = Object.assign(document.createElement("script"), { src: "search.js" });
  script.onload = () => {
    parts = window.textsOfPages.flatMap(([title, link, own]) => own.map(([anchor, heading, text]) => {
      const href = anchor ? link + "#" + encodeURIComponent(anchor) : link;
      return { title, href, heading, text, low: [title, heading, text].join(" ").toLowerCase() };
    }));
    search();
  };
  script.onerror = () => { state.textContent = "search.js is missing beside this page: make the index again."; };
  document.head.append(script);
}

// Text around the first word, with all words marked; built as text, so that nothing in a page is run here.
function snippet(text, words) {
  const pattern = new RegExp(words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "gi");
  const first = Math.max(0, text.search(pattern) - 60);
  const shown = (first ? "… " : "") + text.slice(first, first + 240) + (first + 240 < text.length ? " …" : "");
  const line = document.createElement("p");
  let end = 0;
  for (const match of shown.matchAll(pattern)) {
    const mark = Object.assign(document.createElement("mark"), { textContent: match[0] });
    line.append(shown.slice(end, match.index), mark);
    end = match.index + match[0].length;
  }
  line.append(shown.slice(end));
  return line;
}

function search() {
  const words = question.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = parts.filter((part) => words.length && words.every((word) => part.low.includes(word)));
  const inHeading = (part) => words.filter((word) => part.heading.toLowerCase().includes(word)).length;
  found.sort((a, b) => inHeading(b) - inHeading(a));
  list.replaceChildren(...found.slice(0, MOST).map((part) => {
    const item = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { href: part.href });
    link.textContent = [part.title, part.heading].filter(Boolean).join(": ");
    item.append(link, snippet(part.text, words));
    return item;
  }));
  const more = found.length > MOST ? ", the first " + MOST + " are shown" : "";
  state.textContent = words.length && parts.length ? "Places found: " + found.length + more : "";
}question.addEventListener("focus", load);
question.addEventListener("input", () => { load(); search(); });
document.getElementById("search-box").addEventListener("keydown", (event) => {
  const stops = [question, ...list.querySelectorAll("a")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const next = event.key === "Escape" ? question : step && stops[stops.indexOf(document.activeElement) + step];
  if (next) { event.preventDefault(); next.focus(); }
});
