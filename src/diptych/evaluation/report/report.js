"use strict";
// The report's page: tabs, the price of an hour, and the pictures. Everything that it shows is in the file.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const count = (n) => n.toLocaleString("en");

/** An element with attributes, listeners (`onclick`) and children; null and false are left out. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false));
  return element;
}

function glyph(model) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `glyph m${model.tone}`);
  svg.setAttribute("viewBox", "-7 -7 14 14");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#shape-${model.tone}`);
  svg.append(use);
  return svg;
}

const badge = (model, short = false) => h("span", { class: "model", title: short ? model.name : null }, glyph(model),
  h("b", {}, model.letter), short ? null : h("span", { class: "name" }, model.name));

// ---- tabs: the address names the open one, so that it can be sent, and Back works

const tabs = [...document.querySelectorAll("[role=tab]")];
const nameOf = (tab) => tab.getAttribute("aria-controls");

function show(tab) {
  for (const each of tabs) {
    const own = each === tab;
    each.setAttribute("aria-selected", String(own));
    if (own) each.removeAttribute("tabindex");
    else each.setAttribute("tabindex", "-1");
    $(nameOf(each)).hidden = !own;
  }
  tab.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Open what the address says: a tab, or the place in it that has this id; the first tab for an empty one. */
function follow() {
  const [name, query = ""] = location.hash.slice(1).split("?");
  const place = $(name);
  const panel = place?.closest("[role=tabpanel]");
  show(tabs.find((tab) => nameOf(tab) === panel?.id) ?? tabs[0]);
  if (panel && place !== panel) place.scrollIntoView();
  setPrice(new URLSearchParams(query).get("price"));
}

function go(tab) {
  const here = tab.getAttribute("aria-selected") === "true";
  show(tab);
  if (!here) history.pushState(null, "", nameOf(tab) === "cost" ? costAddress() : `#${nameOf(tab)}`);
  scrollTo(0, Math.min(scrollY, document.querySelector("main").offsetTop - document.querySelector(".tabs").offsetHeight));
}

for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(tab);
  });
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: -1 }[event.key];
    if (event.key === " ") go(tab);
    if (to !== undefined) {
      const next = tabs.at(to % tabs.length);
      next.focus();
      go(next);
    }
    if (to !== undefined || event.key === " ") event.preventDefault();
  });
}
addEventListener("popstate", follow);
addEventListener("hashchange", follow);

// ---- appearance: the system's, until the reader chooses

const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const showTheme = () => $("theme").setAttribute("aria-pressed", String(isDark()));
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
});
system.addEventListener("change", showTheme);
showTheme();

// ---- print: what is folded away is shown

const printed = matchMedia("print");
let folded = [];
printed.addEventListener("change", () => {
  if (printed.matches) folded = [...document.querySelectorAll("details:not([open])")];
  for (const details of folded) details.open = printed.matches;
});

// ---- languages by name

const names = new Intl.DisplayNames("en", { type: "language", fallback: "none" });
function language(code) {
  try {
    const name = names.of(code);
    return name ? `${name} (${code})` : code;
  } catch {
    return code; // not a code of a language
  }
}
for (const label of document.querySelectorAll("[data-language]")) label.textContent = language(label.dataset.language);

// ---- price of a million, from the price of an hour

const price = $("price");
const usual = price?.value;
const costAddress = () => (price.value === usual ? "#cost" : `#cost?price=${price.value}`);

function setPrice(value) {
  if (!price) return;
  if (value !== null && Number.isFinite(Number.parseFloat(value))) price.value = value;
  const hour = price.valueAsNumber;
  for (const cell of document.querySelectorAll("[data-rate]")) {
    const cost = (hour * 1e6) / cell.dataset.rate / 3600;
    cell.textContent = Number.isFinite(cost) && hour >= 0
      ? cost.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: cost < 0.1 ? 4 : 2 }) : "–";
  }
}
price?.addEventListener("input", () => {
  setPrice(null);
  history.replaceState(null, "", costAddress());
});

// ---- pictures

/** One picture, by its number. `right` is true, false, or null where there is no right and wrong. */
function shot(number, { right = null, note = "", label = "" } = {}) {
  const [id, uri] = data.pictures[number];
  const said = `${label}${id}${right === null ? "" : right ? ", right" : ", wrong"}`;
  return h("li", { class: `shot${right ? " right" : ""}`, title: note ? `${id} · ${note}` : id },
    h("div", { class: "frame" }, uri ? h("img", { src: uri, alt: said, width: 76, height: 76 }) : h("span", {}, said)),
    right === null ? null : h("span", { class: right ? "sign-right" : "sign-wrong", "aria-hidden": "true" }, right ? "✓" : "✗"),
    note ? h("small", {}, note) : null);
}

const strip = (shots, label) => h("ul", { class: "strip", "aria-label": label }, shots);

function choices(select, chosen) {
  select.append(...data.models.map((model, i) => h("option", { value: i, selected: i === chosen }, `${model.letter} ${model.name}`)));
}

// ---- confusion: pairs, and a matrix of at most 40 classes

const MOST = 40;
const PAIRS = 50;

function drawConfusion() {
  const { classes, cells } = data.confusions.find((each) => each.model === Number($("confusion-model").value));
  const wrong = cells.filter(([t, p]) => t !== p).sort((a, b) => b[2] - a[2]);
  const buttons = new Map(cells.map((cell) => [cell, []]));
  const pressed = (cell) => {
    for (const [each, own] of buttons) for (const button of own) button.setAttribute("aria-pressed", String(each === cell));
    showCell(classes, cell);
  };
  const chosen = (cell) => {
    pressed(cell);
    $("cell").scrollIntoView({ block: "nearest" }); // on a narrow screen it is further down
  };
  const button = (cell, attributes, ...children) => {
    const made = h("button", { type: "button", "aria-pressed": "false", onclick: () => chosen(cell), ...attributes }, ...children);
    buttons.get(cell).push(made);
    return made;
  };
  const pairs = wrong.slice(0, PAIRS).map((cell) => h("li", {}, button(cell, { class: "pair" },
    h("span", {}, classes[cell[0]], h("i", {}, " taken for "), classes[cell[1]]), h("span", {}, count(cell[2])))));
  $("pairs").replaceChildren(h("h4", {}, wrong.length ? "Most often confused" : "Nothing was confused"), h("ul", {}, pairs));
  drawMatrix(classes, cells, wrong, button);
  if (cells.length) pressed(wrong[0] ?? cells[0]);
}

function showCell(classes, [t, p, n, pictures]) {
  const what = t === p ? `${classes[t]}, recognised` : `${classes[t]} taken for ${classes[p]}`;
  const all = `${count(n)} ${n === 1 ? "picture" : "pictures"}`;
  const shown = pictures.length === 0 ? `${all}; none is in this report` : pictures.length < n ? `${count(pictures.length)} of ${all}` : all;
  $("cell").replaceChildren(h("h4", {}, what), h("p", { class: "note" }, shown), strip(pictures.map((each) => shot(each)), what));
}

function drawMatrix(classes, cells, wrong, button) {
  const often = new Map();
  for (const [t, p, n] of wrong) for (const one of [t, p]) often.set(one, (often.get(one) ?? 0) + n);
  const shown = classes.map((_, i) => i);
  if (classes.length > MOST) shown.sort((a, b) => (often.get(b) ?? 0) - (often.get(a) ?? 0)).splice(MOST);
  shown.sort((a, b) => a - b);
  const at = new Map(cells.map((cell) => [`${cell[0]} ${cell[1]}`, cell]));
  const most = Math.max(1, ...wrong.map((cell) => cell[2]));
  const rows = shown.map((t) => h("tr", {}, h("th", { scope: "row", title: classes[t] }, classes[t]), shown.map((p) => {
    const cell = at.get(`${t} ${p}`);
    if (!cell) return h("td");
    const shade = t === p ? "right" : `h${Math.ceil((6 * cell[2]) / most)}`;
    return h("td", { class: shade }, button(cell, { tabindex: -1,
      "aria-label": `${cell[2]}: ${classes[t]} ${t === p ? "recognised" : `taken for ${classes[p]}`}` }, String(cell[2])));
  })));
  const head = h("tr", {}, h("td"), shown.map((p) => h("th", { scope: "col", title: classes[p] }, h("span", {}, classes[p]))));
  const all = classes.length > MOST ? `The ${MOST} classes of ${count(classes.length)} that are confused most. ` : "";
  const table = h("table", { class: "matrix", "aria-label": "Confusion matrix", onkeydown: moveInMatrix },
    h("thead", {}, head), h("tbody", {}, rows));
  $("matrix").replaceChildren(h("h4", {}, "Matrix"), h("p", { class: "note" },
    `${all}Rows are what a picture shows, columns what it was taken for. Arrow keys move, Enter shows the pictures.`),
  h("div", { class: "scroll" }, table));
  table.querySelector("button")?.removeAttribute("tabindex");
}

/** The next cell with pictures in the direction of the arrow. */
function moveInMatrix(event) {
  const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
  if (!step) return;
  event.preventDefault();
  const from = event.target.closest("td");
  let [row, column] = [from.parentElement.rowIndex, from.cellIndex];
  const rows = event.currentTarget.rows;
  let to = null;
  do {
    row += step[0];
    column += step[1];
    to = rows[row]?.cells[column];
  } while (to && !to.querySelector("button"));
  const next = to?.querySelector("button");
  if (!next) return;
  event.target.setAttribute("tabindex", "-1");
  next.removeAttribute("tabindex");
  next.focus();
}

// ---- the same query, side by side

const FIRST = 12;
let kind = "all";
let showing = FIRST;
const rank = (grid, model) => grid.rank[model] ?? Infinity;
const alone = () => !$("right");

function wins(grid, a, b) {
  return rank(grid, a) < rank(grid, b);
}

/** The difference of two ranks; one that was not found at all counts as far away. */
function distance(grid, a, b) {
  const [one, other] = [rank(grid, a), rank(grid, b)];
  return one === other ? 0 : Math.abs(Math.min(one, 1e6) - Math.min(other, 1e6));
}

function chosenGrids(a, b) {
  const words = $("find").value.trim().toLowerCase();
  const keep = {
    all: () => true,
    left: (grid) => wins(grid, a, b),
    right: (grid) => wins(grid, b, a),
    neither: (grid) => rank(grid, a) > 1 && rank(grid, b) > 1,
  }[kind];
  return data.grids.filter((grid) => keep(grid) && grid.query.toLowerCase().includes(words))
    .sort((one, other) => distance(other, a, b) - distance(one, a, b));
}

function place(grid, model) {
  const first = rank(grid, model);
  return Number.isFinite(first) ? `first right picture at ${count(first)}` : "no right picture";
}

function panel(grid, model, other) {
  return h("div", {}, h("p", {}, badge(data.models[model]), wins(grid, model, other) ? h("span", { class: "win" }, "wins") : null,
    h("span", {}, place(grid, model))),
  strip(grid.found[model].map(([number, score, right]) => shot(number, { right: right === 1, note: score.toFixed(3) })),
    `Found by ${data.models[model].name}`));
}

function queryTitle(grid) {
  const spoken = h("span", { dir: "auto", lang: grid.language || null }, grid.query);
  return [spoken, grid.language ? h("small", {}, language(grid.language)) : null];
}

function drawGrids() {
  const a = Number($("left").value);
  const b = alone() ? a : Number($("right").value);
  const grids = chosenGrids(a, b);
  $("grid-count").textContent = `${count(grids.length)} of ${count(data.grids.length)} queries`;
  for (const button of $("kinds").children) {
    if (button.dataset.kind === "left") button.textContent = `${data.models[a].letter} wins`;
    if (button.dataset.kind === "right") button.textContent = `${data.models[b].letter} wins`;
    button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  }
  const queries = grids.slice(0, showing).map((grid) => h("article", { class: "query" }, h("h4", {}, queryTitle(grid)),
    h("div", { class: "panels" }, panel(grid, a, b), a === b ? null : panel(grid, b, a))));
  const more = grids.length > showing && h("button", { type: "button", class: "plain", onclick: () => {
    showing += 2 * FIRST;
    drawGrids();
    $("grid-list").children[showing - 2 * FIRST]?.querySelector("h4").scrollIntoView({ block: "nearest" });
  } }, `Show ${count(Math.min(2 * FIRST, grids.length - showing))} more`);
  $("grid-list").replaceChildren(...queries, ...(more ? [more] : []));
}

function drawFailures() {
  const model = Number($("failure-model").value);
  const worst = data.grids.filter((grid) => rank(grid, model) > 1).sort((a, b) => rank(b, model) - rank(a, model)).slice(0, FIRST);
  const rows = worst.map((grid) => h("tr", {}, h("th", { scope: "row" }, queryTitle(grid)),
    h("td", {}, strip(grid.expected.slice(0, 3).map((number) => shot(number)), "Right")),
    h("td", {}, strip(grid.found[model].slice(0, 3).map(([number, , right]) => shot(number, { right: right === 1 })), "Found first")),
    data.models.map((_, i) => h("td", { class: "n" }, Number.isFinite(rank(grid, i)) ? count(rank(grid, i)) : "–"))));
  const head = h("tr", {}, ["Query", "Right", "Found first"].map((name) => h("th", { scope: "col" }, name)),
    data.models.map((each) => h("th", { scope: "col", class: "n" }, badge(each, true))));
  $("failure-list").replaceChildren(worst.length
    ? h("div", { class: "scroll", role: "group", tabindex: 0, "aria-label": "Worst failures" }, h("table", { class: "failures" },
      h("caption", {}, h("span", {}, "By the place of the first right picture, which is also given for the other models")), h("thead", {}, head), h("tbody", {}, rows)))
    : h("p", { class: "note" }, "Every right picture came first."));
}

// ---- captions

const REFERENCES = 5;

function drawCaptions() {
  const able = data.models.map((_, i) => i).filter((i) => data.captions.some((each) => each.said[i]));
  const rows = data.captions.map((each) => h("tr", {},
    h("th", { scope: "row" }, strip([shot(each.picture)], "Picture")),
    h("td", {}, each.references.slice(0, REFERENCES).map((text) => h("p", { dir: "auto" }, text)),
      each.references.length > REFERENCES ? h("small", {}, `and ${count(each.references.length - REFERENCES)} more`) : null),
    able.map((i) => h("td", {}, h("p", { dir: "auto" }, each.said[i][0] || "–"), h("small", {}, each.said[i][1].toFixed(3))))));
  const head = h("tr", {}, ["Picture", "People"].map((name) => h("th", { scope: "col" }, name)),
    able.map((i) => h("th", { scope: "col" }, badge(data.models[i], true))));
  $("caption-list").replaceChildren(h("div", { class: "scroll", role: "group", tabindex: 0, "aria-label": "Captions" },
    h("table", { class: "captions" }, h("caption", {}, h("span", {}, "The same picture, in people's words and in each model's")),
      h("thead", {}, head), h("tbody", {}, rows))));
}

if ($("confusion")) {
  const shown = new Set(data.confusions.map((each) => each.model));
  choices($("confusion-model"), Math.min(...shown));
  for (const option of [...$("confusion-model").options]) if (!shown.has(Number(option.value))) option.remove();
  $("confusion-model").addEventListener("change", drawConfusion);
  drawConfusion();
}
if ($("grids")) {
  choices($("left"), 0);
  if (!alone()) choices($("right"), 1);
  choices($("failure-model"), 0);
  const redraw = () => {
    showing = FIRST;
    drawGrids();
  };
  for (const id of alone() ? ["left"] : ["left", "right"]) $(id).addEventListener("change", redraw);
  $("find").addEventListener("input", redraw);
  for (const button of $("kinds").children) {
    button.addEventListener("click", () => {
      kind = button.dataset.kind;
      redraw();
    });
  }
  $("failure-model").addEventListener("change", drawFailures);
  drawGrids();
  drawFailures();
}
if ($("captions")) drawCaptions();

follow();
