// What luacell/wasm promises, as functions of its interface. Runs in Node.js and in browsers.

import { crossing, crossingLater } from "./suite/crossing.js";
import { hostFunctions } from "./suite/host-functions.js";
import { lifecycle } from "./suite/lifecycle.js";
import { runs } from "./suite/runs.js";
import { storedTables } from "./suite/stored-tables.js";
import { values } from "./suite/values.js";
import { waitingSuite as waits } from "./suite/waiting.js";

export const suite = { ...values, ...storedTables, ...runs, ...hostFunctions, ...crossing, ...lifecycle };

/** Where runs wait for promises. */
export const waitingSuite = { ...waits, ...crossingLater };

/** The same, where the engine can put a wasm stack aside. */
export const waiting = typeof WebAssembly.Suspending === "function" && waitingSuite;
