(function () {
  // A link may lead to a table that is folded away.
  function unfold() {
    var target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", unfold);
  function start() {
    unfold();
    document.querySelectorAll(".forget-answer:not([data-ready])").forEach(function (box) {
      box.dataset.ready = "yes";
      var bodies = Array.from(box.querySelectorAll("tbody"));
      var name = box.querySelector("input"), verdict = box.querySelector("select");
      function all(body) { return Array.from(body.rows).filter(function (row) { return row.dataset.name; }); }
      function filter() {
        [].concat.apply([], bodies.map(all)).forEach(function (row) {
          row.hidden = row.dataset.name.indexOf(name.value.trim().toLowerCase()) < 0 ||
            row.textContent.indexOf(verdict.value) < 0;
        });
      }
      if (name) { name.addEventListener("input", filter); verdict.addEventListener("change", filter); }
      var heads = Array.from(box.querySelectorAll("thead th"));
      heads.forEach(function (head, column) {
        function sort() {
          var down = head.getAttribute("aria-sort") === "ascending";
          var key = function (row) { return row.cells[column].dataset.sort; };
          bodies.forEach(function (body) {
            var rows = all(body);
            rows.sort(function (a, b) { return column ? key(a) - key(b) : key(a).localeCompare(key(b)); });
            if (down) { rows.reverse(); }
            rows.forEach(function (row) { body.appendChild(row); });
          });
          heads.forEach(function (each) { each.removeAttribute("aria-sort"); });
          head.setAttribute("aria-sort", down ? "descending" : "ascending");
        }
        head.addEventListener("click", function (event) { if (event.target.tagName !== "A") { sort(); } });
        head.addEventListener("keydown", function (event) { if (event.key === "Enter") { sort(); } });
      });
    });
  }
  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", start); } else { start(); }
})();
