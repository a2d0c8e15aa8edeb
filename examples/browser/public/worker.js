// The sandbox, away from the page, so that no script can hold it up.

import { LuaCellError, Sandbox, openIndexedDB } from "./luacell/wasm/src/esm.js";
import { show, tree } from "./show.js";

/** Milliseconds between two messages of printed text, and the letters in one: more than that no page can show at this pace. */
const PRINT_STEP = 100;
const MOST_PRINTED = 50_000;

let lua;
let store = null;
let controller = null;
let printed = "";
let lastPrint = 0;
let timer;

function flushPrint() {
  clearTimeout(timer);
  timer = undefined;
  if (printed) postMessage({ type: "print", text: printed });
  printed = "";
  lastPrint = performance.now();
}

/** Hands on the first text at once, and what follows in pieces. */
function onPrint(text) {
  printed += text;
  if (printed.length > 2 * MOST_PRINTED) printed = `… output is left out …\n${printed.slice(-MOST_PRINTED)}`;
  if (performance.now() - lastPrint > PRINT_STEP) flushPrint();
  else timer ??= setTimeout(flushPrint, PRINT_STEP);
}

const sendHome = () => postMessage({ type: "home", tree: tree(lua.home) });

async function save() {
  if (!store) return;
  try {
    await store.flush();
    postMessage({ type: "saved" });
  } catch (error) {
    postMessage({ type: "notice", text: `Not saved: ${error.message}` });
  }
}

async function start() {
  try {
    store = await openIndexedDB("luacell-playground");
  } catch (error) {
    postMessage({ type: "notice", text: `Tables are not saved: ${error.message}.` });
  }
  lua = await Sandbox.create({ store, onPrint, exactNumbers: true, timeout: null, outputLimit: null, memoryLimit: "128MiB" });
  lua.register("sleep", (seconds) => new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000)));
  sendHome();
  postMessage({ type: "ready" });
}

async function run(source) {
  controller = new AbortController();
  lastPrint = -Infinity;
  try {
    const { values, metrics } = await lua.computeAsyncWith(source, { name: "=script", signal: controller.signal });
    flushPrint();
    postMessage({ type: "done", values: values.map((value) => show(value)), metrics });
  } catch (error) {
    flushPrint();
    if (!(error instanceof LuaCellError)) throw error;
    const { kind, message, line, chunkName, traceback, metrics } = error;
    postMessage({ type: "failed", kind, message, line: chunkName === "script" ? line : undefined, traceback, metrics });
  }
  controller = null;
  sendHome();
  await save();
}

const actions = {
  run: ({ source }) => run(source),
  stop: () => controller?.abort(),
  clear: () => {
    lua.home.clear();
    lua.gc();
    sendHome();
    return save();
  },
  reset: () => {
    lua.reset();
    postMessage({ type: "restarted" });
  },
};

onmessage = ({ data }) => actions[data.type](data);
start().catch((error) => postMessage({ type: "broken", text: error.message }));
