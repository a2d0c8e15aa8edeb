// What `cargo xtask test wasm-entry` and `browser` run: `node test.mjs FOLDER [OPTION...]` builds luacell/wasm, and runs
// the tests of that folder with these options of `node --test`.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { build, tools } from "../build.mjs";

tools();
build();
const [folder, ...options] = process.argv.slice(2);
const files = readdirSync(folder).filter((name) => name.endsWith(".test.mjs")).map((name) => join(folder, name));
process.exitCode = spawnSync(process.execPath, ["--test", "--test-reporter=tap", ...options, ...files], { stdio: "inherit" }).status ?? 1;
