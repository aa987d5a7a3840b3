// The grid of pictures. Each is a link to more like it; the numbers below say why it is here.

import * as api from "./api.js";
import { $, h, icon, LOOK, percent } from "./dom.js";
import { toAddress } from "./state.js";

const SMALL_SIDE = 200; // a drawing of fewer pixels is laid on a mat instead of being blown up

/** A grid whose hits are kept in `hits`, in order. `open(index)` shows one closer; `follow(hit)` goes on from it. */
export function makeGrid({ open, follow }) {
  const list = $("results");
  const grid = { hits: [], clear, append, focus, move, focused };
  let divided = false;

  function clear() {
    grid.hits = [];
    divided = false;
    list.replaceChildren();
  }

  function append(hits, state, { kind, divide }) {
    const cards = hits.map((hit, i) => card(hit, grid.hits.length + i, state, kind));
    const weak = divide && !divided ? startOfTail(hits) : -1;
    if (weak > 0) {
      divided = true;
      cards.splice(weak, 0, h("li", { class: "divider", role: "presentation" }, h("span", {}, "Less likely from here on")));
    }
    grid.hits.push(...hits);
    list.append(...cards);
  }

  function card(hit, index, state, kind) {
    const caption = hit.caption || nameOf(hit.uri);
    const small = Math.max(hit.metadata.width ?? 0, hit.metadata.height ?? 0) <= SMALL_SIDE;
    const image = h("img", {
      src: api.thumbnail(state.collection, hit.id), alt: caption, loading: "lazy", decoding: "async", draggable: "false",
      class: small ? "small" : null,
    });
    const link = h("a", {
      class: "picture", href: toAddress({ ...state, q: "", not: [], upload: null, like: hit.id }), "data-index": index,
      onclick: (event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return; // the browser's own business
        event.preventDefault();
        follow(hit);
      },
    }, image, h("span", { class: "more" }, "More like this"));
    const look = h("button", { type: "button", class: "icon look", "aria-label": `Look closer at ${caption}`,
      title: "Look closer", onclick: () => open(index) }, icon(LOOK));
    return h("li", { class: hit.matches || kind === "none" ? "hit" : "hit weak" },
      h("div", { class: "frame" }, link, look), h("p", { class: "caption", dir: "auto", title: caption }, caption),
      kind !== "none" && numbers(hit, kind));
  }

  function focus(index) {
    const link = list.querySelector(`a[data-index="${index}"]`);
    link?.focus();
    return Boolean(link);
  }

  function focused() {
    const link = document.activeElement?.closest?.("#results a.picture");
    return link ? Number(link.dataset.index) : null;
  }

  /** From the focused picture to its neighbour in that direction; false at the edge. */
  function move(key) {
    const links = [...list.querySelectorAll("a.picture")];
    const from = focused();
    if (key === "ArrowLeft" || key === "ArrowRight") return focus(from + (key === "ArrowRight" ? 1 : -1));
    const here = links[from].getBoundingClientRect();
    const rows = key === "ArrowDown" ? links.slice(from + 1) : links.slice(0, from).reverse();
    const inNextRow = rows.filter((link) => Math.abs(link.getBoundingClientRect().top - here.top) > here.height / 2);
    if (!inNextRow.length) return false;
    const top = inNextRow[0].getBoundingClientRect().top;
    const distance = (link) => Math.abs(link.getBoundingClientRect().left - here.left);
    const row = inNextRow.filter((link) => Math.abs(link.getBoundingClientRect().top - top) < 2);
    row.reduce((best, link) => (distance(link) < distance(best) ? link : best)).focus();
    return true;
  }

  return grid;
}

/** What a file is called, for pictures without a caption. */
export const nameOf = (uri) => decodeURI(uri.split(/[/#]/).pop().replace(/\.\w{2,5}$/, "").replaceAll("%", "%25"));

function numbers(hit, kind) {
  const share = kind === "probability" ? hit.probability : Math.max(0, hit.score);
  const bar = h("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", share.toFixed(3));
  return h("p", { class: "numbers" }, bar,
    kind === "probability" && h("span", { title: "Calibrated probability that this picture matches" }, percent(hit.probability)),
    h("span", { class: "score", title: "Cosine of the angle between query and picture" }, hit.score.toFixed(3)));
}

/** Where the hits that match end for good, if a good many follow; −1 otherwise. */
function startOfTail(hits) {
  const last = hits.findLastIndex((hit) => hit.matches);
  return last >= 0 && hits.length - last > 4 ? last + 1 : -1;
}
