// A script that waits for clicks and timers, in the page itself: event listeners answer it. Between two events nothing of
// the script is on any stack, so this needs no worker, no promise, and nothing that a browser may lack.

import { Sandbox, openIndexedDB } from "./luacell/wasm/src/esm.js";

const [start, stop, click, source, output, saved] = ["start", "stop", "click", "source", "output", "saved"].map((id) => document.getElementById(id));

/** The run's name in the store. */
const NAME = "clicks";

/** For how many milliseconds a request wants to wait. */
const pauses = { sleep: (ms) => ms, "task.sleep": (seconds) => seconds * 1000 };

// Without a store, for example because another tab has it, a run ends with its page.
const store = await openIndexedDB("luacell-clicks").catch(() => undefined);
// A script that computes holds up the page, but not for long.
const lua = await Sandbox.create({ store, timeout: 500, memoryLimit: "16MiB" });
lua.declare("click").declare("sleep");
lua.register("show", (text) => void (output.textContent = text));

let run;
const timers = new Map();

/** Answers the open requests that are meant, and lets the script go on. */
function answer(isMeant) {
  const meant = run.requests.filter(isMeant);
  if (meant.length === 0) return; // a timer that nobody waits for any more
  for (const { id } of meant) run.answer(id);
  run.resume();
  look();
}

/** Starts timers for new requests. Those for clicks are looked up when there is a click. */
function look() {
  for (const { id, name, args } of run.requests) {
    if (name === "click" || timers.has(id)) continue;
    timers.set(id, setTimeout(() => answer((request) => request.id === id), pauses[name](...args)));
  }
  if (!run.waiting) finish();
  start.hidden = run.waiting;
  stop.hidden = click.disabled = !run.waiting;
  save();
}

function finish() {
  for (const timer of timers.values()) clearTimeout(timer);
  timers.clear();
  try {
    output.textContent = run.result;
  } catch (error) {
    output.textContent = error.message;
  }
}

let saves = 0;
async function save() {
  const mine = ++saves;
  saved.textContent = store ? "" : "Not saved";
  await store?.flush();
  if (store && mine === saves) saved.textContent = "Saved";
}

click.addEventListener("click", () => answer(({ name }) => name === "click"));
start.addEventListener("click", () => {
  run = lua.start(source.value, { name: "=script", durable: store && NAME });
  look();
});
stop.addEventListener("click", () => {
  run.cancel();
  look();
});

if (lua.pendingRuns().length > 0) {
  try {
    run = lua.resume(NAME);
    look();
  } catch (error) {
    // A newer page may have a newer Lua.
    lua.dropPendingRun(NAME);
    output.textContent = error.message;
  }
} else {
  output.textContent = "Press Start, and then Click as often as you can.";
}
start.disabled = false;
