// Puts the page together: `node build.mjs` makes dist/, a folder of static files.

import { cpSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { build } from "../../node/wasm/build.mjs";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

build();
rmSync(at("dist"), { recursive: true, force: true });
cpSync(at("public"), at("dist"), { recursive: true });
cpSync(at("../../node/wasm/dist/esm"), at("dist/luacell"), { recursive: true, filter: (path) => !/\.d\.ts$|package\.json$/.test(path) });
