// What luacell/wasm promises, as functions of its interface. Runs in Node.js and in browsers.

import { hostFunctions } from "./suite/host-functions.js";
import { lifecycle } from "./suite/lifecycle.js";
import { runs } from "./suite/runs.js";
import { storedTables } from "./suite/stored-tables.js";
import { values } from "./suite/values.js";
import { waitingSuite } from "./suite/waiting.js";

export const suite = { ...values, ...storedTables, ...runs, ...hostFunctions, ...lifecycle };

/** Where runs wait for promises. */
export { waitingSuite };

/** The same, where the engine can put a wasm stack aside. */
export const waiting = typeof WebAssembly.Suspending === "function" && waitingSuite;
