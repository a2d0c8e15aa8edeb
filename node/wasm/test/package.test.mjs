// What the package offers: ESM and CommonJS, types, no global state between them.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import * as esm from "../dist/esm/wasm/src/esm.js";
import { crc32 } from "../dist/esm/wasm/src/checksum.js";
import { tools } from "../build.mjs";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

test("CommonJS", async () => {
  const cjs = createRequire(import.meta.url)("../dist/cjs/wasm/src/cjs.js");
  assert.throws(() => new cjs.Sandbox(), { kind: "InvalidArgument", message: /Engine.load/ });
  const lua = await cjs.Sandbox.create();
  assert.equal(lua.compute("return 6 * 7"), 42);
  assert.deepEqual(Object.keys(cjs).sort(), Object.keys(esm).sort());
});

test("an engine from bytes, from a module, from a URL", async () => {
  const url = new URL("../dist/esm/wasm/src/lua.wasm", import.meta.url);
  for (const source of [url, url.href, readFileSync(url), new WebAssembly.Module(readFileSync(url)), new Response(readFileSync(url), { headers: { "content-type": "application/wasm" } })]) {
    const engine = await esm.Engine.load(source);
    assert.equal(new esm.Sandbox({ engine }).compute("return 1"), 1);
  }
  await assert.rejects(esm.Engine.load(new Response(null, { status: 404 })), { kind: "InvalidArgument", message: /404/ });
  for (const options of [5, null, { locktimeout: 5 }, { lockTimeout: "5" }, { onError: 5 }]) await assert.rejects(esm.openIndexedDB("x", options), { kind: "InvalidArgument" });
  await assert.rejects(esm.openIndexedDB("x"), { kind: "Store", message: /no IndexedDB/ });
});

test("a snapshot of another lua.wasm is refused", async () => {
  const lua = await esm.Sandbox.create();
  const bytes = lua.snapshot().toBytes();
  // The fingerprint stands behind the 16 letters of the beginning.
  bytes[16] ^= 1;
  assert.throws(() => esm.Snapshot.fromBytes(bytes), { kind: "InvalidArgument", message: /checksum/ });
  new DataView(bytes.buffer).setUint32(bytes.length - 4, crc32(bytes.subarray(0, -4)), true);
  const foreign = esm.Snapshot.fromBytes(bytes);
  assert.throws(() => lua.restore(foreign), { kind: "InvalidArgument", message: /another lua.wasm/ });
});

test("types, strictly", () => {
  const tsc = `${tools()}node_modules/typescript/bin/tsc`;
  const check = (file) => execFileSync(process.execPath, [tsc, "--project", path(file)], { encoding: "utf8", stdio: "pipe" });
  check("types/tsconfig.json");
});

test("no dependencies, and nothing but relative imports", () => {
  for (const folder of ["esm", "cjs"])
    for (const file of readdirSync(path(`../dist/${folder}`), { recursive: true }).filter((name) => /\.(js|d\.ts)$/.test(name))) {
      const url = new URL(`../dist/${folder}/${file}`, import.meta.url);
      for (const [, from] of readFileSync(url, "utf8").matchAll(/(?:from |require\(|import\()["']([^"']+)["']/g)) {
        const isOurs = /^\.\.?\//.test(from) && existsSync(new URL(from, url));
        assert.ok(isOurs || (file.endsWith("cjs.js") && from === "node:url"), `${file} imports ${from}`);
      }
    }
});
