// The corpus on a bare host. `CASES=part,part` runs only those whose name or file contains one of the parts.

import assert from "node:assert/strict";
import { test } from "node:test";

import { loadCases, runCase, skipReason } from "./corpus.mjs";

for (const revision of [2, 1]) test(`conformance corpus, host of revision ${revision}`, async (t) => {
  const only = process.env.CASES?.split(",");
  let ran = 0;
  const skipped = new Map();
  for (const { file, test: one } of loadCases()) {
    if (only && !only.some((part) => one.name.includes(part) || file.includes(part))) continue;
    const reason = skipReason(one, revision);
    if (reason) {
      skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
      continue;
    }
    ran++;
    await t.test(`${file}: ${one.name}`, () => runCase(one, revision));
  }
  t.diagnostic(`corpus: ${ran} cases, skipped: ${JSON.stringify(Object.fromEntries(skipped))}`);
  assert.ok(ran > 0, "no case ran");
});
