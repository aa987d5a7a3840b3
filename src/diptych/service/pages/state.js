// What is being searched, as one plain object, and its two ways into a query string: the page's address, which can be
// shared, and the request. An uploaded picture has no address: `upload` names it in this tab only.

import { names } from "./collections.js";

export const nothing = (collection = null) => ({ collection, q: "", not: [], filter: [], like: null, upload: null });

export const asksNothing = (state) => !state.q && !state.not.length && !state.like && !state.upload;
export const isWelcome = (state) => asksNothing(state) && !state.filter.length;

export function fromAddress(address, kept) {
  const given = new URLSearchParams(address);
  const { q, not } = readTyped(given.get("q") ?? "", true); // written by hand, it may hold `-people` too
  return {
    collection: given.get("collection"),
    q,
    not: [...given.getAll("not"), ...not],
    filter: given.getAll("filter"),
    like: given.get("like"),
    upload: kept?.upload ?? null,
  };
}

export function toAddress(state) {
  const query = parameters(state.collection === names()[0] ? { ...state, collection: null } : state).toString();
  return query ? `/?${query}` : "/";
}

export function toRequest(state, page) {
  const request = parameters(state);
  for (const [name, value] of Object.entries(page)) request.set(name, value);
  return request;
}

function parameters(state) {
  const found = new URLSearchParams();
  for (const name of ["collection", "q", "like"]) if (state[name]) found.set(name, state[name]);
  for (const name of ["not", "filter"]) for (const value of state[name]) found.append(name, value);
  return found;
}

// `-people` and `-"old people"` after a blank or at the start; `T-shirt`, `-` alone and ` - people` (which is the
// search's own query language) are left as they are.
const NEGATIVE = /(^|\s)[-−](?:"([^"]+)"|([^\s"\-−][^\s"]*))(?=\s|$)/gu;
const UNFINISHED = /(^|\s)(?:[-−+]|\d+(?:\.\d+)?:)$/u; // a sign or a weight before the word it is for

/**
 * Split typed text into what is wanted (`q`) and what is `not`; `rest` is the text without the latter. Unless it is
 * `finished`, a term at the end that may still grow belongs to neither.
 */
export function readTyped(text, finished) {
  const not = [];
  let growing = "";
  const rest = text.replace(NEGATIVE, (whole, before, quoted, word, at) => {
    if (!finished && word && at + whole.length === text.length) growing = whole;
    else not.push(quoted ?? word);
    return before;
  });
  const q = (finished ? rest : rest.replace(UNFINISHED, "$1")).replace(/\s+/gu, " ").trim();
  return { q, not, rest: rest.replace(/\s+/gu, " ").trimStart() + growing.trimStart() };
}
