import { test } from "node:test";

import * as api from "../dist/esm/wasm/src/esm.js";
import { suite, waiting } from "./suite.js";

await api.Engine.load();
for (const [name, run] of Object.entries({ ...suite, ...waiting })) test(name, () => run(api));
