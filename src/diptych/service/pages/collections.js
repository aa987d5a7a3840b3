// What the server knows of its collections, and what the page says of the one on show.

import * as api from "./api.js";
import { $, count, h } from "./dom.js";

let known = new Map();

export const names = () => [...known.keys()];
export const slotOf = (name) => known.get(name);

/** Ask the server anew. */
export async function learn() {
  known = new Map((await api.collections()).map((slot) => [slot.name, slot]));
}

/** The choice in the header, if there is one. */
export function drawChoice() {
  $("collection").replaceChildren(...names().map((name) => h("option", {}, name)));
  $("collection-choice").hidden = known.size < 2;
}

/** The foot of the page, and examples in languages that the model knows. */
export function describe(name) {
  const slot = slotOf(name);
  const model = slot?.model;
  $("model").textContent = model ? `${count(slot.rows)} pictures · ${model.name} · ${model.fingerprint.slice(0, 12)}` : "";
  $("notice").hidden = !slot?.notice;
  $("notice").textContent = slot?.notice ?? "";
  for (const item of $("examples").children) {
    item.hidden = slot?.languages.length > 0 && !slot.languages.includes(item.firstElementChild.lang);
  }
}
