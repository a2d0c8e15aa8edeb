// The corpus on a bare host. `CASES=part,part` runs only those whose name or file contains one of the parts.

import assert from "node:assert/strict";
import { test } from "node:test";

import { loadCases, runCase, skipReason } from "./corpus.mjs";

// Runs on the first ask it wherever instructions are counted: nothing that a function has under way may suffer from that.
const hosts = [{ revision: 3, asks: 2_000 }, { revision: 2 }, { revision: 1 }];

for (const host of hosts) test(`conformance corpus, host of ${JSON.stringify(host)}`, async (t) => {
  const only = process.env.CASES?.split(",");
  let ran = 0;
  const skipped = new Map();
  for (const { file, test: one } of loadCases()) {
    if (only && !only.some((part) => one.name.includes(part) || file.includes(part))) continue;
    const reason = skipReason(one, host.revision);
    if (reason) {
      skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
      continue;
    }
    ran++;
    await t.test(`${file}: ${one.name}`, () => runCase(one, host));
  }
  t.diagnostic(`corpus: ${ran} cases, skipped: ${JSON.stringify(Object.fromEntries(skipped))}`);
  assert.ok(ran > 0, "no case ran");
});
