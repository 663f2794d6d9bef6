// Charts: drawn one after the other when they come into sight, and again when the filters or the
// colour scheme change.
const { specs, datasets, labels, family, light, dark } =
  JSON.parse(document.getElementById("charts").textContent);
// A label may be "constructor", hence maps: the choice that a method's label belongs to, and
// {prefix of figures: {label of a configuration: [choice, rank]}}.
const families = new Map(Object.entries(family));
const choiceOf = (method) => families.get(method) ?? method;
const known = new Map(Object.entries(labels).map(([prefix, those]) => [prefix, new Map(
  Object.entries(those).map(([label, [method, rank]]) => [label, [choiceOf(method), rank]]))]));
const scheme = matchMedia("(prefers-color-scheme: dark)");
const places = [...document.querySelectorAll(".chart")];
const WHOLE = new Set(["diverged", "frontier"]); // datasets that are of all methods and ranks together
const drawn = new Map(); // what vegaEmbed gave, by place
const stale = new Set(places);
const inSight = new Set();
let isDrawing = false;

const namesIn = (spec) => new Set((spec.layer ?? [spec]).map((layer) => layer.data?.name));

const labelsOf = (figure) =>
  known.get(figure.startsWith("study") ? "study" : figure.split("-")[0]) ?? new Map();

// [choice, rank] of a row of a chart's data; undefined where the row names none
function keyOf(row, labels) {
  const [method, rank] = labels.get(row.label) ?? [];
  return [choiceOf(row.method) ?? method, row.rank === undefined ? rank : row.rank];
}

// The datasets that a panel names, less what is not chosen.
function dataOf(figure, spec) {
  const labels = labelsOf(figure);
  const kept = {};
  for (const name of namesIn(spec)) {
    const rows = datasets[figure][name];
    if (rows === undefined) continue;
    if (!choice.isAny) kept[name] = rows;
    else if (WHOLE.has(name)) kept[name] = [];
    else kept[name] = rows.filter((row) => choice.has(...keyOf(row, labels)));
  }
  return kept;
}

// Whether a panel has anything left; data that all panels share are not what one is about.
function isEmpty(figure, spec) {
  if (!choice.isAny) return false;
  const all = specs[figure].map(namesIn);
  const own = [...namesIn(spec)].filter((name) => !all.every((names) => names.has(name)));
  const kept = dataOf(figure, spec);
  return (own.length ? own : Object.keys(kept)).every((name) => !kept[name]?.length);
}

// Of a filtered panel the layers that have data; an axis of methods has those that are chosen.
function fitted(spec, data) {
  if (!choice.isAny || !spec.layer) return spec;
  spec = structuredClone(spec);
  spec.layer = spec.layer.filter(({ data: of }) => !of || data[of.name]?.length !== 0);
  if (!choice.methods) return spec;
  let share = 1;
  for (const layer of spec.layer) {
    for (const axis of ["x", "y"]) {
      const channel = layer.encoding?.[axis];
      if (channel?.field !== "method" || !Array.isArray(channel.scale?.domain)) continue;
      const kept = channel.scale.domain.filter((method) => choice.methods.has(choiceOf(method)));
      if (axis === "y") share = kept.length / channel.scale.domain.length;
      channel.scale.domain = kept;
    }
  }
  if (share < 1) spec.height = Math.max(60, spec.height * share);
  return spec;
}

async function draw(place) {
  const { figure, panel } = place.dataset;
  const spec = specs[figure][panel];
  const data = dataOf(figure, spec);
  place.style.minHeight = `${place.offsetHeight}px`; // nothing below moves meanwhile
  try {
    const result = await vegaEmbed(place, { ...fitted(spec, data), datasets: data }, {
      config: scheme.matches ? dark : light, actions: false, renderer: "svg",
      tooltip: { theme: scheme.matches ? "dark" : "light" },
    });
    drawn.get(place)?.finalize();
    drawn.set(place, result);
  } catch (error) {
    place.textContent = `This chart could not be drawn: ${error.message}`;
    console.error(error);
  }
  place.style.height = "auto";
  place.style.minHeight = "";
  if (!performance.getEntriesByName("first chart").length) performance.mark("first chart");
}

async function drawInSight() {
  if (isDrawing) return;
  isDrawing = true;
  let next;
  while ((next = places.find((place) => inSight.has(place) && stale.has(place)))) {
    stale.delete(next);
    await draw(next);
    await new Promise((resume) => setTimeout(resume)); // let the reader scroll and type between
  }
  isDrawing = false;
}

function drawAgain() {
  places.forEach((place) => stale.add(place));
  drawInSight();
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inSight.add(target);
    else inSight.delete(target);
  }
  drawInSight();
}, { rootMargin: "200px" });
scheme.addEventListener("change", drawAgain);
