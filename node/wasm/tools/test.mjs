// What `cargo xtask test wasm-entry` and `browser` run: `node test.mjs FOLDER` builds luacell/wasm, and runs the tests
// of that folder.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { build, tools } from "../build.mjs";

tools();
build();
const folder = process.argv[2];
const files = readdirSync(folder).filter((name) => name.endsWith(".test.mjs")).map((name) => join(folder, name));
// One after another: those of examples/browser build the same folder.
process.exitCode = spawnSync(process.execPath, ["--test", "--test-concurrency=1", "--test-reporter=tap", ...files], { stdio: "inherit" }).status ?? 1;
