// Keys: "/" to the search box, arrows among the pictures, Space to look closer, Esc to start again.
// Enter needs nothing: a picture is a link to more like it.

import { $ } from "./dom.js";

export function listenForKeys({ grid, open, reset }) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || $("details").open) return;
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      $("q").focus();
      $("q").select();
    } else if (event.key === "Escape") {
      event.preventDefault();
      reset();
    } else if (event.key === "ArrowDown" && event.target === $("q")) {
      if (grid.focus(0)) event.preventDefault();
    } else if (grid.focused() !== null && event.key.startsWith("Arrow")) {
      event.preventDefault();
      if (!grid.move(event.key) && event.key === "ArrowUp") $("q").focus();
    } else if (grid.focused() !== null && event.key === " ") {
      event.preventDefault();
      open(grid.focused());
    }
  });
}
