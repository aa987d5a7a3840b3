// Chips: the picture that is searched with, what is left out, and the filters; each can be removed.

import * as api from "./api.js";
import { $, CROSS, h, icon } from "./dom.js";

/** Draw the chips of a state; `change(fields)` is called when one is removed. */
export function drawTerms(state, uploads, change) {
  $("seed").replaceChildren(...seed(state, uploads, change));
  const without = state.not.map((text) =>
    chip(["without ", h("b", { dir: "auto" }, text)], `Do not leave out ${text}`, "not",
      () => change({ not: state.not.filter((other) => other !== text) })));
  const filters = state.filter.map((filter) => {
    const [column, value] = readFilter(filter);
    return chip([`${title(column)} `, h("b", { dir: "auto" }, value || "none")], `Remove the filter ${column} ${value}`,
      "filter", () => change({ filter: state.filter.filter((other) => other !== filter) }));
  });
  $("terms").replaceChildren(...without, ...filters);
}

export const title = (column) => column.replaceAll("_", " ");

export function readFilter(filter) {
  const colon = filter.indexOf(":");
  return [filter.slice(0, colon), filter.slice(colon + 1)];
}

function seed(state, uploads, change) {
  if (state.upload) {
    const upload = uploads.get(state.upload);
    const image = h("img", { src: upload?.preview, alt: "", width: 36, height: 36 });
    image.addEventListener("error", () => image.remove()); // a format that this browser does not show
    return [chip([image, h("span", {}, upload?.name ?? "picture")], "Remove the picture", "seed", () => change({ upload: null }))];
  }
  if (state.like) {
    const image = h("img", { src: api.thumbnail(state.collection, state.like), alt: "", width: 36, height: 36 });
    const label = h("span", { dir: "auto" }, "like this");
    api.picture(state.collection, state.like).then((row) => label.replaceChildren(`like ${row.captions[0] || "this"}`), () => {});
    return [chip([image, label], "Remove the picture", "seed", () => change({ like: null }))];
  }
  return [];
}

function chip(content, removal, kind, remove) {
  return h("li", { class: `chip ${kind}` }, content,
    h("button", { type: "button", "aria-label": removal, title: removal, onclick: remove }, icon(CROSS)));
}
