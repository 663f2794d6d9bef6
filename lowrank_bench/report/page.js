"use strict";
// Charts: drawn one after the other, and again when the colour scheme changes.
const { specs, datasets, light, dark } = JSON.parse(document.getElementById("charts").textContent);
const scheme = matchMedia("(prefers-color-scheme: dark)");
const views = new Map();
async function draw(place) {
  const old = views.get(place);
  const { figure, panel } = place.dataset;
  const spec = { ...specs[figure][panel], datasets: datasets[figure] };
  const result = await vegaEmbed(place, spec, {
    config: scheme.matches ? dark : light, actions: false, renderer: "svg",
    tooltip: { theme: scheme.matches ? "dark" : "light" },
  });
  if (old) old.finalize();
  views.set(place, result);
}
async function drawAll() {
  for (const place of document.querySelectorAll(".chart")) await draw(place);
}
drawAll();
scheme.addEventListener("change", drawAll);

// Tables: a click (or Enter) on a heading sorts; numbers sort by data-v.
const value = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent.trim();
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((th, i) => {
    const button = document.createElement("button");
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener("click", () => {
      const sign = th.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => sign * (th.classList.contains("num")
        ? value(a, i) - value(b, i)
        : value(a, i).localeCompare(value(b, i), undefined, { numeric: true })));
      table.tBodies[0].append(...rows);
    });
  });
}
