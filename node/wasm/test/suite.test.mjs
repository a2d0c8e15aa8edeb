import { test } from "node:test";

import * as api from "../dist/esm/wasm/src/esm.js";
import { suite } from "./suite.js";

await api.Engine.load();
for (const [name, run] of Object.entries(suite)) test(name, () => run(api));
