"use strict";
// A click on a column's head sorts by it; another click turns the order round. Rows without a
// number stay below. The first column, of names, sorts into the order that the report came in.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const upward = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", upward ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => compare(a.cells[column], b.cells[column], upward ? 1 : -1));
      table.tBodies[0].append(...rows);
    });
  });
}

function compare(a, b, sign) {
  if (!a.hasAttribute("data-sort")) {
    return sign * a.textContent.localeCompare(b.textContent, "en");
  }
  const [x, y] = [a.dataset.sort, b.dataset.sort];
  if (x === "" || y === "") return (x === "") - (y === "");
  return sign * (Number(x) - Number(y));
}
