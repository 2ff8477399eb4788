const sections = Array.from(document.querySelectorAll("section.pages"));

// Every word must be in a row; a section without one is hidden, one with some is opened.
function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  sections.forEach((section) => {
    let some = false;
    section.querySelectorAll("tbody tr").forEach((row) => {
      const told = (section.id + " " + row.textContent).toLowerCase();
      row.hidden = !words.every((word) => told.includes(word));
      some = some || !row.hidden;
    });
    section.hidden = !some;
    if (words.length && some) { section.querySelector("details").open = true; }
  });
}
document.getElementById("find").addEventListener("input", (event) => find(event.target.value));

sections.forEach((section) => section.querySelectorAll("thead th").forEach((head, column) => {
  const sort = () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const body = section.querySelector("tbody");
    const rows = Array.from(body.rows);
    rows.sort((a, b) => a.cells[column].textContent.localeCompare(b.cells[column].textContent, "en", { numeric: true }));
    if (down) { rows.reverse(); }
    section.querySelectorAll("thead th").forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  };
  head.tabIndex = 0;
  head.style.cursor = "pointer";
  head.addEventListener("click", sort);
  head.addEventListener("keydown", (event) => { if (event.key === "Enter") { sort(); } });
}));

// A link to a section opens it.
function unfold() {
  const section = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const fold = section && section.querySelector("details");
  if (fold) { fold.open = true; section.scrollIntoView(); }
}
window.addEventListener("hashchange", unfold);
unfold();
