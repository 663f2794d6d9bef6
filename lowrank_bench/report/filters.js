// Filters: what is chosen is kept behind the # of the address, so that a view can be passed on.
const form = document.getElementById("filters");
const shown = document.getElementById("shown");

// null stands for everything; a rank of "" is no rank.
const choice = {
  control: null, methods: null, ranks: null,
  get isAny() { return Boolean(this.methods || this.ranks); },
  has(method, rank) {
    return (!this.methods || method === undefined || this.methods.has(method))
      && (!this.ranks || rank === undefined || this.ranks.has(String(rank ?? "")));
  },
};
const isChosen = (element) => choice.has(element.dataset.method, element.dataset.rank);
const boxes = (name) => [...form.querySelectorAll(`input[name="${name}"]`)];

function readForm() {
  choice.control = form.elements.control?.value || null;
  for (const [key, name] of [["methods", "method"], ["ranks", "rank"]]) {
    const checked = boxes(name).filter((box) => box.checked).map((box) => box.value);
    choice[key] = checked.length === boxes(name).length ? null : new Set(checked);
  }
}

// Behind the # stand control=…&method=…&rank=…, each of the last two once a choice. What this page
// does not have is left out; an anchor chooses nothing.
function readAddress() {
  const hash = location.hash.slice(1);
  if (hash && !hash.includes("=")) return;
  const told = new URLSearchParams(hash);
  const select = form.elements.control;
  if (select) {
    const known = [...select.options].some((option) => option.value === told.get("control"));
    select.value = known ? told.get("control") : "";
  }
  for (const [name, none] of [["method", "no-method"], ["rank", "no-rank"]]) {
    const wanted = new Set(told.getAll(name));
    const known = boxes(name).filter((box) => wanted.has(box.value));
    const isAll = !known.length && !told.has(none);
    boxes(name).forEach((box) => { box.checked = isAll || known.includes(box); });
  }
}

function writeAddress() {
  const told = new URLSearchParams();
  if (choice.control) told.set("control", choice.control);
  for (const [key, name] of [["methods", "method"], ["ranks", "rank"]]) {
    choice[key]?.forEach((value) => told.append(name, value));
    if (choice[key]?.size === 0) told.set(`no-${name}`, "1");
  }
  const isAnchor = location.hash && !location.hash.includes("=");
  if (isAnchor && ![...told].length) return;
  try {
    history.replaceState(null, "", [...told].length ? `#${told}` : location.pathname + location.search);
  } catch { /* a frame without an address of its own */ }
}

let waiting;
function apply() {
  readForm();
  for (const element of document.querySelectorAll("section[data-control], li[data-control]")) {
    element.hidden = Boolean(choice.control) && element.dataset.control !== choice.control;
  }
  tables.forEach((table) => table.filter(choice.isAny ? isChosen : null));
  for (const item of document.querySelectorAll(".failed-receipts li")) item.hidden = !isChosen(item);
  for (const box of document.querySelectorAll(".failed-receipts")) {
    box.hidden = ![...box.querySelectorAll("li")].some((item) => !item.hidden);
  }
  document.querySelectorAll("figure").forEach(applyToFigure);
  tell();
  places.forEach((place) => stale.add(place));
  clearTimeout(waiting);
  waiting = setTimeout(drawInSight, 120); // ticking several boxes draws once
}

function applyToFigure(figure) {
  const panels = [...figure.querySelectorAll(".chart")];
  for (const { parentElement, dataset: { figure: id, panel } } of panels) {
    parentElement.hidden = isEmpty(id, specs[id][panel]);
  }
  figure.querySelector(".nothing").hidden = panels.some((place) => !place.parentElement.hidden);
  const labels = [...labelsOf(panels[0].dataset.figure).values()];
  for (const key of figure.querySelectorAll(".legend li")) {
    const { method, rank } = key.dataset;
    // a method's entry stays for any of its ranks
    key.hidden = method !== undefined && rank === undefined && labels.some(([of]) => of === method)
      ? !labels.some(([of, at]) => of === method && choice.has(of, at))
      : !isChosen(key);
  }
}

function tell() {
  const inSight = tables.filter(({ element }) => !element.closest("section[hidden]"));
  let ranked = inSight.filter(({ element }) => element.classList.contains("ranking"));
  const what = ranked.length ? "configurations" : "rows"; // where there is a study alone
  if (!ranked.length) ranked = inSight;
  const sum = (count) => ranked.reduce((total, table) => total + count(table), 0);
  const chosen = sum((table) => table.chosen.length), all = sum((table) => table.rows.length);
  const text = `${number(chosen)} of ${number(all)} ${what}`;
  shown.textContent = choice.isAny ? `${text}; sentences are about all` : text;
  for (const [key, name] of [["methods", "method"], ["ranks", "rank"]]) {
    const count = form.querySelector(`[data-count="${name}"]`);
    if (count) count.textContent = choice[key] ? `${choice[key].size} of ${boxes(name).length}` : "all";
  }
  form.querySelector("[type=reset]").disabled = !choice.isAny && !choice.control;
}

function changed() {
  apply();
  writeAddress();
}

form.addEventListener("change", (event) => { if (event.target.type !== "search") changed(); });
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => {
  form.querySelectorAll("label[hidden]").forEach((label) => { label.hidden = false; });
  changed();
}));
for (const button of form.querySelectorAll("button[data-all], button[data-none]")) {
  button.addEventListener("click", () => {
    const found = boxes(button.dataset.all ?? button.dataset.none).filter((box) => !box.parentElement.hidden);
    found.forEach((box) => { box.checked = "all" in button.dataset; });
    changed();
  });
}
form.querySelector("[type=search]")?.addEventListener("input", ({ target }) => {
  const wanted = target.value.trim().toLowerCase();
  for (const box of boxes("method")) {
    box.parentElement.hidden = !box.value.toLowerCase().includes(wanted);
  }
});

// The lists close with Escape, by a click elsewhere, and when the keyboard leaves them.
for (const list of form.querySelectorAll("details")) {
  list.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !list.open) return;
    list.open = false;
    list.querySelector("summary").focus();
  });
  list.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget && !list.contains(relatedTarget)) list.open = false;
  });
  document.addEventListener("pointerdown", ({ target }) => {
    if (!list.contains(target)) list.open = false;
  });
}

addEventListener("hashchange", () => {
  const isAnchor = location.hash && !location.hash.includes("=");
  if (!isAnchor) readAddress();
  else if (choice.isAny || choice.control) return writeAddress(); // the anchor has been gone to
  apply();
});

form.hidden = false;
readAddress();
if (location.hash.includes("=")) apply(); // else all is there as it should be
else tell();
places.forEach((place) => watcher.observe(place));
