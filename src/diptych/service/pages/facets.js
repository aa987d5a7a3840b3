// Filters made of the collection's own columns: one group of toggles for each that has a choice to offer.

import * as api from "./api.js";
import { $, count, h } from "./dom.js";
import { title } from "./terms.js";

const SHOWN = 10;

/** Load the groups of a collection; they are drawn by `drawFacets`. */
export async function loadFacets(name) {
  const all = await api.facets(name);
  return Object.entries(all).filter(([, values]) => values.length > 1);
}

let drawn = null; // the groups on the page
let buttons = []; // a toggle for each of their values, also those behind "more"

/** Draw the groups, or, when they are there already, only which of their values are chosen: focus stays where it is. */
export function drawFacets(groups, state, toggle) {
  if (groups === drawn) {
    press(state);
    return;
  }
  drawn = groups;
  $("facets-toggle").hidden = groups.length === 0;
  buttons = [];
  $("facets").replaceChildren(...groups.map(([column, values]) => {
    const chips = values.map(({ value, count: n }) => chip(column, value, n, toggle));
    const rest = chips.slice(SHOWN);
    const more = rest.length > 0 && h("button", { type: "button", class: "plain", onclick: () => {
      more.replaceWith(...rest);
      rest[0].focus();
    } }, `${rest.length} more`);
    buttons.push(...chips);
    return h("fieldset", {}, h("legend", {}, title(column)), chips.slice(0, SHOWN), more);
  }));
  press(state);
}

function press(state) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(state.filter.includes(button.dataset.filter)));
}

export function showFacets(shown) {
  $("facets").hidden = !shown;
  $("facets-toggle").setAttribute("aria-expanded", String(shown));
}

function chip(column, value, n, toggle) {
  const filter = `${column}:${value}`;
  return h("button", { type: "button", class: "chip toggle", "data-filter": filter, onclick: () => toggle(filter) },
    h("span", { dir: "auto" }, String(value) || "none"), h("small", {}, count(n)));
}
