// The page: reads the address, searches, draws, and writes the address. One state, one way round: whatever people do
// ends in `change` (or, by the browser's buttons, in `arrive`), and these draw and search.

import * as api from "./api.js";
import { makeBox } from "./box.js";
import { describe, drawChoice, learn, names, slotOf } from "./collections.js";
import { makeDetails } from "./details.js";
import { $, plural, say, sleep } from "./dom.js";
import { drawFacets, loadFacets, showFacets } from "./facets.js";
import { listenForKeys } from "./keyboard.js";
import { listenForPictures, uploads } from "./picture.js";
import { showLoading, watchProgress } from "./progress.js";
import { makeGrid } from "./results.js";
import { asksNothing, fromAddress, isWelcome, nothing, toAddress, toRequest } from "./state.js";
import { drawTerms } from "./terms.js";

const PAGE = 48;
const POLL_MS = 700;
const REMEMBERED = 30;

let state = nothing();
let answer = null; // the last page of hits: total, answered, took_ms
let request = null; // aborts the search in flight
let groups = []; // facets of the collection on show
let stopWatching = () => {};
let entry = null; // the history entry that the address is of
let shown = null; // the one that the pictures are of: the same, but while a search is under way
const remembered = new Map(); // entry → {hits, answer, scroll}, so that "back" leads to where one was

const newEntry = () => performance.timeOrigin + performance.now();
const follow = (hit) => change({ q: "", not: [], upload: null, like: hit.id });
const grid = makeGrid({ open: (index) => details.open(index), follow });
const details = makeDetails({
  hits: () => grid.hits, collection: () => state.collection, asked: () => numbersFor(state), follow,
  closed: (index) => grid.focus(index),
});
const box = makeBox({ state: () => state, change, again: search });

// ---- going somewhere

/** Change some fields of the state and search. `replace` keeps the history entry, for typing. */
function change(fields, { replace = false } = {}) {
  remember();
  const before = state.collection;
  state = { ...state, q: box.read(), ...fields };
  entry = replace ? entry : newEntry();
  remembered.delete(entry);
  history[replace ? "replaceState" : "pushState"]({ entry, upload: state.upload }, "", toAddress(state));
  scrollTo(0, 0);
  draw();
  if (state.collection === before) search();
  else enter();
}

/** Show what the address says: at the start, and when the browser goes back or forward. */
function arrive() {
  remember();
  const before = state.collection;
  state = fromAddress(location.search, history.state);
  state.collection ??= names()[0];
  if (!uploads.has(state.upload)) state.upload = null; // it was lost when the page was loaded anew
  entry = history.state?.entry ?? newEntry();
  history.replaceState({ entry, upload: state.upload }, "");
  draw();
  const kept = remembered.get(entry);
  if (state.collection !== before) enter();
  else if (kept) restore(kept);
  else search();
}

function toggleFilter(filter) {
  const without = state.filter.filter((other) => other !== filter);
  change({ filter: without.length < state.filter.length ? without : [...state.filter, filter] });
}

function remember() {
  if (!grid.hits.length || shown !== entry) return;
  remembered.delete(entry);
  remembered.set(entry, { hits: grid.hits, answer, scroll: scrollY });
  if (remembered.size > REMEMBERED) remembered.delete(remembered.keys().next().value);
}

function restore(kept) {
  request?.abort();
  request = new AbortController(); // for the pictures that scrolling will ask for
  document.body.classList.remove("busy");
  answer = kept.answer;
  show(kept.hits);
  scrollTo(0, kept.scroll);
}

/** Make the page that of `state.collection`: wait until it is loaded, then search, and watch it grow. */
async function enter() {
  stopWatching();
  const name = state.collection;
  const left = () => name !== state.collection;
  groups = [];
  describe(name);
  while (slotOf(name)?.state === "loading") {
    showLoading("Loading the model…");
    await sleep(POLL_MS);
    await learn().then(() => say(null), (error) => say("That did not work.", error.message));
    if (left()) return;
  }
  showLoading(null);
  describe(name);
  search();
  if (slotOf(name)?.state !== "ready") return;
  const refreshFacets = async () => {
    const loaded = await loadFacets(name);
    if (left()) return;
    groups = loaded;
    if (!$("facets").contains(document.activeElement)) drawFacets(groups, state, toggleFilter);
  };
  refreshFacets().catch(() => {}); // without filters one can still search
  stopWatching = watchProgress(name, async ({ running }) => {
    await learn();
    if (left()) return;
    describe(name);
    if (!running || !groups.length) refreshFacets();
    // more pictures have come: draw anew only where nobody is disturbed
    const undisturbed = scrollY < 80 && grid.focused() === null && !$("details").open;
    if (undisturbed && (!running || grid.hits.length < PAGE)) search({ quietly: true });
  });
}

// ---- searching

async function search({ quietly = false } = {}) {
  const slot = slotOf(state.collection);
  if (slot?.state === "loading") return; // `enter` searches when it is loaded
  request?.abort();
  if (!quietly) shown = null;
  const mine = (request = new AbortController());
  const busy = setTimeout(() => document.body.classList.add("busy"), 150);
  try {
    answer = await ask(0, mine.signal);
    show(answer.hits);
  } catch (error) {
    if (error.name !== "AbortError" && !quietly) await fail(error);
  } finally {
    clearTimeout(busy);
    if (request === mine) document.body.classList.remove("busy");
  }
}

async function more() {
  if (!answer || more.running || grid.hits.length >= answer.total) return;
  more.running = true;
  const mine = request;
  try {
    const found = await ask(grid.hits.length, mine.signal);
    if (mine !== request) return;
    answer.total = found.hits.length ? found.total : grid.hits.length;
    grid.append(found.hits, state, look());
  } catch (error) {
    if (error.name === "AbortError" || mine !== request) return;
    say("That did not work.", error.message, { retry: more });
    return;
  } finally {
    more.running = false;
  }
  if (isNear($("sentinel"))) more();
}

function ask(offset, signal) {
  if (isWelcome(state)) return glance(signal);
  return api.search(toRequest(state, { k: PAGE, offset }), uploads.get(state.upload)?.file, signal);
}

/** A fair sample of the whole, the same all day: ids are hashes, so a span of them is a random draw. */
async function glance(signal) {
  const rows = slotOf(state.collection)?.rows ?? 0;
  const span = Math.ceil((2 * PAGE / rows) * 2 ** 32);
  const today = Math.imul(Math.floor(Date.now() / 86_400_000), 2654435761) >>> 0;
  const from = Math.min(today, 2 ** 32 - span);
  const hex = (number) => number.toString(16).padStart(8, "0");
  const where = rows > 200 ? { where: `id >= '${hex(from)}' AND id < '${from + span < 2 ** 32 ? hex(from + span) : "g"}'` } : {};
  const found = await api.search(toRequest(state, { k: 200, ...where }), null, signal);
  const hits = found.hits.sort((a, b) => (a.id < b.id ? -1 : 1)).slice(0, PAGE);
  return { ...found, hits, total: hits.length };
}

// ---- drawing

/** Everything but the pictures. */
function draw() {
  document.body.dataset.view = isWelcome(state) ? "welcome" : "results";
  document.title = [state.q, state.like || state.upload ? "more like this" : "", "Diptych"].filter(Boolean).join(" · ");
  box.write(state.q);
  drawTerms(state, uploads, change);
  drawFacets(groups, state, toggleFilter);
  $("collection").value = state.collection;
}

function show(hits) {
  const missed = !asksNothing(state) && hits.length > 0 && !answer.answered;
  say(missed ? "Nothing here matches." : null, "The nearest pictures are below.", { calm: true });
  const held = grid.focused() !== null; // whoever walks among the pictures stays among them
  grid.clear();
  grid.append(hits, state, look());
  if (held) grid.focus(0);
  shown = entry;
  $("status").textContent = status(hits);
  if (isNear($("sentinel"))) more();
}

function status(hits) {
  const total = plural(answer.total, "picture", "pictures");
  if (isWelcome(state)) return hits.length ? `A glance at ${state.collection}` : `${state.collection} is empty so far`;
  if (!hits.length) return "No picture passes these filters";
  if (asksNothing(state)) return total;
  return `${total}, ${answer.answered ? "best" : "nearest"} first · ${Math.max(1, Math.round(answer.took_ms))} ms`;
}

/** Which number means something: probabilities are calibrated for text, and where nothing was asked there is none. */
const numbersFor = ({ q, not, like, upload }) => (q || not.length ? "probability" : like || upload ? "cosine" : "none");
const look = () => ({ kind: numbersFor(state), divide: Boolean(state.q) && answer.answered });
const isNear = (element) => element.getBoundingClientRect().top < innerHeight + 600;

async function fail(error) {
  answer = null;
  grid.clear();
  $("status").textContent = "";
  if (state.upload && error.status >= 400 && error.status < 500) { // a refused picture must not spoil the next search
    state = { ...state, upload: null };
    history.replaceState({ entry, upload: null }, "");
    draw();
    await search({ quietly: true });
  }
  say("That did not work.", error.message, { retry: error.status === 0 || error.status >= 500 ? search : null });
}

// ---- what people do

function reset() {
  showFacets(false);
  $("q").value = "";
  if (!isWelcome(state)) change(nothing(state.collection));
  $("q").focus();
}

/** Plain clicks on a link within the page; with a modifier they are the browser's own business. */
function onPlainClick(element, action) {
  element.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    action(link);
  });
}

onPlainClick($("home"), reset);
onPlainClick($("examples"), (link) => change({ q: link.textContent }));
$("facets-toggle").addEventListener("click", () => showFacets($("facets").hidden));
$("collection").addEventListener("change", (event) => change(nothing(event.target.value)));
listenForPictures((upload) => change({ q: "", not: [], like: null, upload }), (sentence) => say("That did not work.", sentence));
listenForKeys({ grid, open: (index) => details.open(index), reset });
addEventListener("popstate", arrive);
history.scrollRestoration = "manual";
new IntersectionObserver(([seen]) => seen.isIntersecting && more(), { rootMargin: "600px" }).observe($("sentinel"));

await learn().then(() => {
  drawChoice();
  const early = $("q").value; // somebody was faster than the page
  arrive();
  if (!early) return;
  $("q").value = early;
  $("q").dispatchEvent(new Event("input"));
}, (error) => say("That did not work.", error.message, { retry: () => location.reload() }));
