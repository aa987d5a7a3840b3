// The few helpers that take the place of a framework.

export const $ = (id) => document.getElementById(id);

/** An element with attributes, listeners (`onclick`) and children; `false` and `null` are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== false && child !== null && child !== undefined));
  return element;
}

export const count = (n) => n.toLocaleString("en");
export const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;
export const percent = (p) => (p > 0.995 ? "> 99%" : p < 0.005 ? "< 1%" : `${Math.round(100 * p)}%`);

/** `action`, once things have been quiet for `ms`; `cancel()` forgets it. */
export function debounced(action, ms) {
  let timer = null;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(action, ms);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A small picture of lines, from the path data of a 24 × 24 drawing. */
export function icon(lines) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "lines");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", lines);
  svg.append(path);
  return svg;
}

export const LOOK = "M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7";
export const CROSS = "M6 6l12 12M18 6 6 18";

/** A sentence above the pictures; `calm` for what is no error, `retry` for what may work the next time. null: none. */
export function say(headline, text = "", { calm = false, retry = null } = {}) {
  const box = $("message");
  box.hidden = !headline;
  box.classList.toggle("calm", calm);
  box.setAttribute("role", calm ? "status" : "alert");
  box.replaceChildren(...(headline ? [h("p", {}, h("b", {}, headline), " ", text)] : []),
    ...(retry ? [h("button", { type: "button", class: "plain", onclick: retry }, "Try again")] : []));
}
