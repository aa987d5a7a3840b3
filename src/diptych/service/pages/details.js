// One picture, closer: the original, why it was found, and what is known of it. Arrow keys go to its neighbours.

import * as api from "./api.js";
import { $, CROSS, h, icon, percent } from "./dom.js";
import { nameOf } from "./results.js";

/** `hits()` gives the list that is leafed through; `follow(hit)` goes on from one. */
export function makeDetails({ hits, collection, asked, follow, closed }) {
  const dialog = $("details");
  let index = 0;

  function open(at) {
    index = at;
    draw();
    if (dialog.open) dialog.querySelector(".close").focus(); // the old one is gone, and the keys with it
    else dialog.showModal();
  }

  function draw() {
    const hit = hits()[index];
    const caption = hit.caption || nameOf(hit.uri);
    const image = h("img", { src: api.original(collection(), hit.id), alt: caption });
    image.addEventListener("error", () => { image.src = api.thumbnail(collection(), hit.id); }, { once: true });
    dialog.replaceChildren(
      h("figure", {}, image),
      h("div", { class: "facts" },
        h("h2", { id: "details-caption", dir: "auto" }, caption),
        table(why(hit, asked())),
        table(Object.entries(hit.metadata).filter(([, value]) => value !== "")),
        h("p", { class: "uri" }, hit.uri),
        h("div", { class: "actions" },
          h("button", { type: "button", class: "go", onclick: () => { dialog.close(); follow(hit); } }, "More like this"),
          h("a", { href: api.original(collection(), hit.id), target: "_blank", rel: "noopener" }, "Open the original"))),
      h("button", { type: "button", class: "icon close", autofocus: true, "aria-label": "Close", onclick: () => dialog.close() }, icon(CROSS)));
  }

  dialog.addEventListener("keydown", (event) => {
    const to = index + ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0);
    if (to === index || !hits()[to]) return;
    event.preventDefault();
    open(to);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // the backdrop
  dialog.addEventListener("close", () => closed(index));
  return { open };
}

function why(hit, kind) {
  if (kind === "none") return [];
  const facts = [["cosine", hit.score.toFixed(4)]];
  if (kind === "probability") facts.unshift(["probability", `${percent(hit.probability)}${hit.matches ? "" : ", below the cut-off"}`]);
  const names = { text: "by meaning", lexical: "by the caption's words", image: "by the picture", like: "by the picture" };
  for (const [list, rank] of Object.entries(hit.ranks)) facts.push([`place ${names[list] ?? list}`, String(rank)]);
  return facts;
}

function table(facts) {
  return facts.length > 0 && h("dl", {}, facts.map(([name, value]) =>
    h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", { dir: "auto" }, String(value)))));
}
