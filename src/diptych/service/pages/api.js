// The REST interface, as functions. Every failure is an ApiError whose message is a sentence for people.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // 0: no answer at all
  }
}

const path = (...parts) => "/api/" + parts.map(encodeURIComponent).join("/");

export const collections = () => get(path("collections"));
export const facets = (name) => get(path("collections", name, "facets"));
export const progress = (name) => get(path("collections", name, "progress"));
export const picture = (name, id) => get(path("collections", name, "pictures", id));
export const thumbnail = (name, id) => path("collections", name, "pictures", id, "thumbnail");
export const original = (name, id) => path("collections", name, "pictures", id, "original");

/** Search; `file` is an uploaded picture or null. */
export function search(parameters, file, signal) {
  const url = `/api/search?${new URLSearchParams(parameters)}`;
  if (!file) return get(url, { signal });
  const body = new FormData();
  body.append("picture", file);
  return get(url, { signal, method: "POST", body });
}

async function get(url, options) {
  let answer;
  let said = null;
  try {
    answer = await fetch(url, options);
    said = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  if (!answer || (answer.ok && said === null)) throw new ApiError("The server does not answer. Is diptych still running?", 0);
  if (!answer.ok) throw new ApiError(sentence(said?.detail ?? `The server answered ${answer.status}.`), answer.status);
  return said;
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
