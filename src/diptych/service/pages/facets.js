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

export function drawFacets(groups, state, change) {
  $("facets-toggle").hidden = groups.length === 0;
  $("facets").replaceChildren(...groups.map(([column, values]) => {
    const chips = values.map(({ value, count: n }) => toggle(column, value, n, state, change));
    const rest = chips.slice(SHOWN);
    const more = rest.length > 0 && h("button", { type: "button", class: "plain", onclick: () => {
      more.replaceWith(...rest);
      rest[0].focus();
    } }, `${rest.length} more`);
    return h("fieldset", {}, h("legend", {}, title(column)), chips.slice(0, SHOWN), more);
  }));
}

export function showFacets(shown) {
  $("facets").hidden = !shown;
  $("facets-toggle").setAttribute("aria-expanded", String(shown));
}

function toggle(column, value, n, state, change) {
  const filter = `${column}:${value}`;
  const on = state.filter.includes(filter);
  return h("button", {
    type: "button", class: "chip toggle", "aria-pressed": String(on),
    onclick: () => change({ filter: on ? state.filter.filter((other) => other !== filter) : [...state.filter, filter] }),
  }, h("span", { dir: "auto" }, String(value) || "none"), h("small", {}, count(n)));
}
