// A picture to search with: chosen, pasted, or dropped anywhere on the page.

import { $ } from "./dom.js";

/** The pictures of this tab by name: `{file, preview, name}`. They are lost when the page is loaded anew. */
export const uploads = new Map();

/** Call `use(key)` for each picture that comes in, and `refuse(sentence)` for anything else. */
export function listenForPictures(use, refuse) {
  const take = (file) => {
    if (file.type && !file.type.startsWith("image/")) {
      refuse(`${file.name || "This"} is not a picture.`);
      return;
    }
    const key = `${Date.now()}-${uploads.size}`;
    uploads.set(key, { file, preview: URL.createObjectURL(file), name: file.name || "pasted picture" });
    use(key);
  };

  $("upload").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", (event) => {
    if (event.target.files.length) take(event.target.files[0]);
    event.target.value = ""; // the same file can be chosen again
  });

  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    const intoText = event.target.closest?.("input") && event.clipboardData.types.includes("text/plain");
    if (!file || intoText) return; // text is pasted as text, also where a picture of it comes along
    event.preventDefault();
    take(file);
  });

  let inside = 0; // dragenter and dragleave come for every element on the way
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (depth) => {
    inside = Math.max(0, depth);
    $("drop").hidden = inside === 0;
  };
  document.addEventListener("dragenter", (event) => carriesFiles(event) && show(inside + 1));
  document.addEventListener("dragleave", (event) => carriesFiles(event) && show(inside - 1));
  document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(0);
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
