"use strict";
// The number that a cell begins with, or infinity for text, so that text comes last.
const number = (text) => {
  const found = text.replace(/^[≤⚠\s]+/, "").match(/^-?[\d.]+/);
  return found ? parseFloat(found[0]) : Infinity;
};
const sort = (table, column, header) => {
  const descending = header.getAttribute("aria-sort") === "ascending";
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const text = (row) => (row.cells[column] ? row.cells[column].textContent.trim() : "");
  const compare = (a, b) => {
    const [x, y] = [number(text(a)), number(text(b))];
    return x === y ? text(a).localeCompare(text(b)) : x - y;
  };
  rows.sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...rows);
};
for (const table of document.querySelectorAll("table")) {
  if (!table.tHead || !table.tBodies.length) continue;
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sort(table, column, header));
  });
}
// A link into a folded part opens it.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
};
addEventListener("hashchange", unfold);
unfold();
