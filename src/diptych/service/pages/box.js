// The search box. While somebody types it searches by itself; `-people` becomes a chip as soon as it is finished.

import { $, debounced } from "./dom.js";
import { readTyped } from "./state.js";

const TYPING_MS = 280;

/** `state()` is what is being searched; `change(fields, {replace})` searches for something else; `again()` searches. */
export function makeBox({ state, change, again }) {
  const input = $("q");
  let pushed = false; // whether what is being typed has its own history entry already

  const read = () => readTyped(input.value, false).q;
  const withTerms = (not) => [...new Set([...state().not, ...not])];

  const look = debounced(() => {
    if (read() === state().q) return;
    const replace = pushed;
    pushed = true;
    change({}, { replace });
  }, TYPING_MS);

  /** Show this text, unless what stands there already means it: nobody's cursor is moved while he types. */
  function write(q) {
    look.cancel();
    if (read() === q) return;
    input.value = q;
    pushed = false;
  }

  input.addEventListener("input", (event) => {
    if (event.isComposing) return;
    const { q, not, rest } = readTyped(input.value, false);
    if (!not.length) {
      look();
      return;
    }
    input.value = rest;
    change({ q, not: withTerms(not) });
  });
  input.addEventListener("compositionend", look);

  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const { q, not } = readTyped(input.value, true);
    const without = $("without").value.trim();
    $("without").value = "";
    if (without) not.push(without);
    pushed = false;
    input.value = q;
    if (q === state().q && !not.length) again();
    else change({ q, not: withTerms(not) });
  });

  $("without").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    const text = event.target.value.trim();
    event.target.value = "";
    if (text) change({ not: withTerms([text]) });
  });

  return { read, write };
}
