"use strict";
(() => {
  const one = (what, where = document) => where.querySelector(what);
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  document.documentElement.classList.add("js");

  // Tables: sort by a column, keep the rows that hold every word asked for.
  const number = (cell) => parseFloat(cell.textContent.replace(/−/g, "-").replace(/,/g, ""));
  const sort = (button) => {
    const head = button.closest("th"), table = button.closest("table"), at = +head.dataset.column;
    const up = head.getAttribute("aria-sort") !== "ascending";
    all("th[aria-sort]", table).forEach((th) => th.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = head.dataset.kind === "number" ? number : (cell) => cell.textContent;
    const missing = (value) => value === "" || Number.isNaN(value);
    for (const body of all("tbody:not(.controls)", table)) {
      const rows = [...body.rows].map((row) => [key(row.cells[at]), row]);
      rows.sort(([a], [b]) => {
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
        return up ? order : -order;
      });
      body.append(...rows.map(([, row]) => row));
    }
  };
  const filter = (input) => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = all("tbody:not(.controls) tr", one("#" + input.dataset.table));
    const texts = rows.map((row) => row.textContent.toLowerCase());
    rows.forEach((row, i) => { row.hidden = !words.every((word) => texts[i].includes(word)); });
    const left = rows.filter((row) => !row.hidden).length;
    input.nextElementSibling.textContent = words.length ? `${left} of ${rows.length}` : "";
  };
  all("th button").forEach((button) => button.addEventListener("click", () => sort(button)));
  all("input[data-table]").forEach((input) => input.addEventListener("input", () => filter(input)));
  addEventListener("beforeprint", () => { all("details").forEach((part) => { part.open = true; }); });
  all("details[data-folded]").forEach((part) => { part.open = false; });
})();
