// What luacell/wasm promises, as functions of its interface. Runs in Node.js and in browsers.

import { crossing, crossingLater } from "./suite/crossing.js";
import { hostFunctions } from "./suite/host-functions.js";
import { hostValues } from "./suite/host-values.js";
import { lifecycle } from "./suite/lifecycle.js";
import { objects } from "./suite/objects.js";
import { runs } from "./suite/runs.js";
import { started } from "./suite/started.js";
import { storedTables } from "./suite/stored-tables.js";
import { values } from "./suite/values.js";
import { waiting } from "./suite/waiting.js";

export const suite = { ...values, ...storedTables, ...runs, ...hostFunctions, ...hostValues, ...objects, ...crossing, ...lifecycle, ...waiting, ...crossingLater, ...started };
