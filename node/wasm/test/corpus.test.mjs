// The whole corpus against luacell/wasm in Node.js. `CASES=part,part` runs only cases whose name or file contains one
// of the parts.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import * as api from "../dist/esm/wasm/src/esm.js";
import { hasIntegralFloats, runCase } from "./corpus.js";

const folder = new URL("../../../core/tests/cases/", import.meta.url);
const only = process.env.CASES?.split(",");

function* cases() {
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".json")).sort())
    for (const one of JSON.parse(readFileSync(new URL(file, folder), "utf8")))
      if (!only || only.some((part) => one.name.includes(part) || file.includes(part))) yield { file, one };
}

await api.Engine.load();

for (const [what, options] of [
  ["exact numbers", { exact: true }],
  ["plain numbers", { exact: false }],
  ["computeAsync", { exact: true, waiting: true }],
])
  test(`conformance corpus, ${what}`, async (t) => {
    let ran = 0;
    for (const { file, one } of cases()) {
      if (!options.exact && hasIntegralFloats(one)) continue;
      ran++;
      await t.test(`${file}: ${one.name}`, () => runCase(api, one, options));
    }
    t.diagnostic(`corpus: ${ran} cases`);
    assert.ok(ran > 0, "no case ran");
  });
