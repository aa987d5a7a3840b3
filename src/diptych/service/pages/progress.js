// The bar that shows while pictures are still being indexed. What is there can be searched already.

import * as api from "./api.js";
import { $, count, plural } from "./dom.js";

const EVERY_MS = 1000;

/** Watch the jobs of a collection until `stop()`; `changed({running})` is called as pictures come in and at the end. */
export function watchProgress(name, changed) {
  let stopped = false;
  let wasRunning = false;

  async function look() {
    let job = { state: "none" };
    try {
      job = await api.progress(name);
    } catch {
      // searches say that the server is gone; the bar just waits
    }
    if (stopped) return;
    const running = job.state === "running";
    draw(job);
    if (running || wasRunning) changed({ running });
    wasRunning = running;
    setTimeout(look, running ? EVERY_MS : 10 * EVERY_MS);
  }
  look();
  return () => { stopped = true; };
}

/** Before the collection is open there is nothing to count. */
export function showLoading(text) {
  $("progress").hidden = !text;
  $("progress-text").textContent = text ?? "";
  $("progress-bar").removeAttribute("value");
}

function draw(job) {
  const bar = $("progress-bar");
  $("progress").hidden = !["running", "failed", "stopped"].includes(job.state);
  bar.hidden = job.state !== "running";
  if (job.total) {
    bar.max = job.total;
    bar.value = job.done;
  } else {
    bar.removeAttribute("value");
  }
  $("progress-text").textContent = sentence(job);
}

function sentence(job) {
  const done = job.total ? `${count(job.done)} of ${count(job.total)} pictures` : plural(job.done, "picture", "pictures");
  switch (job.state) {
    case "running": {
      const left = job.seconds_left === null ? "" : `, ${timeLeft(job.seconds_left)} left`;
      return `Indexing: ${done}${left}. You can search what is there already.`;
    }
    case "failed":
      return `Indexing ended early, after ${done}: ${job.message}. Run it again to go on.`;
    case "stopped":
      return `Indexing was stopped after ${done}. Run it again to go on.`;
    default:
      return "";
  }
}

const timeLeft = (seconds) => (seconds < 90 ? `about ${Math.max(1, Math.round(seconds))} s` : `about ${Math.round(seconds / 60)} min`);
