import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import * as api from "../dist/esm/wasm/src/esm.js";
import { suite } from "./suite.js";

// Some tests have garbage collected, where that is possible.
setFlagsFromString("--expose-gc");
globalThis.gc = runInNewContext("gc");

await api.Engine.load();
for (const [name, run] of Object.entries(suite)) test(name, () => run(api));
