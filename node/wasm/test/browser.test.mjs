// luacell/wasm in headless Chromium: the suite, the whole corpus, IndexedDB. `CASES=part,part` as in corpus.test.mjs.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { launch, serve } from "../tools/chromium.mjs";
import { suite } from "./suite.js";

const folder = new URL("../../../core/tests/cases/", import.meta.url);
const only = process.env.CASES?.split(",");
let server;
let browser;

before(async () => {
  server = await serve(fileURLToPath(new URL("../", import.meta.url)));
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.close();
});

/** A page with the interface as `api`. */
async function open(context) {
  const page = await (context ?? browser).newPage();
  page.setDefaultTimeout(0);
  await load(page);
  return page;
}

async function load(page) {
  await page.goto(`${server.url}/test/blank.html`);
  await page.evaluate(async () => {
    globalThis.api = await import("/dist/esm/wasm/src/esm.js");
    await api.Engine.load();
    Object.assign(globalThis, await import("/test/suite.js"), await import("/test/corpus.js"));
  });
}

test("the suite", async (t) => {
  const page = await open();
  for (const name of Object.keys(suite)) await t.test(name, () => page.evaluate((name) => suite[name](api), name));
  await page.close();
});

for (const options of [{ exact: true }, { exact: true, waiting: true }])
  test(`conformance corpus${options.waiting ? ", computeAsync" : ""}`, async (t) => {
    const page = await open();
    let ran = 0;
    for (const file of readdirSync(folder).filter((name) => name.endsWith(".json")).sort()) {
      const all = JSON.parse(readFileSync(new URL(file, folder), "utf8"));
      const cases = all.filter((one) => !only || only.some((part) => one.name.includes(part) || file.includes(part)));
      if (cases.length === 0) continue;
      const results = await page.evaluate(
        async ({ cases, options }) => {
          const results = [];
          for (const one of cases) results.push(await runCase(api, one, options).then(() => null, (error) => String(error?.stack ?? error)));
          return results;
        },
        { cases, options },
      );
      ran += results.length;
      for (const [i, error] of results.entries())
        await t.test(`${file}: ${cases[i].name}`, () => {
          if (error) throw new Error(error);
        });
    }
    t.diagnostic(`corpus: ${ran} cases`);
    assert.ok(ran > 0, "no case ran");
    await page.close();
  });

test("IndexedDB keeps tables over a reload", async () => {
  const page = await open();
  const write = () =>
    page.evaluate(async () => {
      const store = await api.openIndexedDB("kept");
      const lua = new api.Sandbox({ store });
      lua.compute("_home.n = (_home.n or 0) + 1 _home.list = {1, {deep = 'x\\n\\xff'}} _home.f = function(x) return x + _home.n end _home['a\\nb'] = 0.5");
      lua.compute("_home.gone = {1, 2, 3}");
      try {
        lua.compute("_home.n = 100 error('x')");
      } catch {}
      lua.home.delete("gone");
      await store.flush();
      return lua.compute("return _home.n, #_home.list, #_home.list[2].deep, _home.f(10), _home['a\\nb'], _home.gone == nil");
    });
  for (const n of [1, 2, 3]) {
    assert.deepEqual(await write(), [n, 2, 3, 10 + n, 0.5, true]);
    await load(page);
  }
  // Without flush: what a run has stored is on its way when it returns.
  await page.evaluate(async () => {
    const lua = new api.Sandbox({ store: await api.openIndexedDB("kept") });
    lua.compute("_home.n = 50");
  });
  await load(page);
  assert.equal(await page.evaluate(async () => new api.Sandbox({ store: await api.openIndexedDB("kept") }).compute("return _home.n")), 50);
  await page.close();
});

test("the program in README.md that keeps tables", async () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const program = [...readme.matchAll(/^```js\n(.*?)^```/gms)].map(([, text]) => text).find((text) => text.includes("openIndexedDB"));
  const source = program.replace("'luacell/wasm'", () => JSON.stringify(`${server.url}/dist/esm/wasm/src/esm.js`));
  assert.notEqual(source, program, "it imports luacell/wasm");
  const page = await open();
  for (const visits of [1, 2]) {
    await page.evaluate((source) => import(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))), source);
    await load(page);
    const there = await page.evaluate(async () => {
      const store = await api.openIndexedDB("notes");
      const { visits } = Object.fromEntries(new api.Sandbox({ store }).home);
      await store.close();
      return visits;
    });
    assert.equal(there, visits);
  }
  await page.close();
});

test("IndexedDB: a durable run goes on after a reload", async () => {
  const page = await open();
  await page.evaluate(async () => {
    const store = await api.openIndexedDB("durable");
    const lua = new api.Sandbox({ store }).declare("ask");
    lua.start("local t = {1} local a = ask('a') _home.sum = a local b = ask('b') _home.sum = _home.sum + b t[2] = b return t", { durable: "order-17" });
    await store.flush();
  });
  const step = (value) =>
    page.evaluate(async (value) => {
      const store = await api.openIndexedDB("durable");
      const lua = new api.Sandbox({ store }).declare("ask");
      const names = lua.pendingRuns().map(({ name }) => name);
      const run = lua.resume("order-17");
      const [{ id, args }] = run.requests;
      run.answer(id, value);
      run.resume();
      await store.flush();
      return [names, id, args, run.waiting ? null : run.result, lua.home.get("sum"), lua.pendingRuns().length];
    }, value);
  await load(page);
  assert.deepEqual(await step(10), [["order-17"], 1, ["a"], null, 10, 1]);
  await load(page);
  assert.deepEqual(await step(20), [["order-17"], 2, ["b"], [1, 20], 30, 0]);
  await page.close();
});

test("IndexedDB: orphans are removed from it", async () => {
  const page = await open();
  const count = await page.evaluate(async () => {
    const store = await api.openIndexedDB("orphans");
    const lua = new api.Sandbox({ store });
    lua.compute("for i = 1, 500 do _home.t = {i, {i}} end");
    lua.gc();
    await store.close();
    const again = await api.openIndexedDB("orphans");
    return [...again.entries()].length;
  });
  assert.equal(count, 5, "_home.t, its two entries, one of the table inside, and the counter");
  await page.close();
});

test("IndexedDB: one user at a time, and clear errors", async () => {
  const context = await browser.newContext();
  const [one, two] = [await open(context), await open(context)];
  await one.evaluate(async () => void (globalThis.store = await api.openIndexedDB("shared")));
  const refused = () => two.evaluate(() => api.openIndexedDB("shared", { lockTimeout: 50 }).then(() => "opened", (error) => `${error.kind}: ${error.message}`));
  assert.match(await refused(), /^Store: the database 'shared' is in use/);
  const again = await one.evaluate(() => {
    new api.Sandbox({ store });
    try {
      new api.Sandbox({ store });
    } catch (error) {
      return `${error.kind}: ${error.message}`;
    }
  });
  assert.match(again, /^Store: .*one for each sandbox/);
  // Who closes lets the next one in, and so does a page that goes.
  await one.evaluate(() => store.close());
  assert.equal(await refused(), "opened");
  await two.close();
  await one.evaluate(() => api.openIndexedDB("shared").then((store) => store.close()));
  const closed = await one.evaluate(async () => {
    const store = await api.openIndexedDB("shared");
    const lua = new api.Sandbox({ store });
    await store.close();
    try {
      lua.compute("_home.x = 1");
    } catch (error) {
      return [error.kind, lua.home.size];
    }
  });
  assert.deepEqual(closed, ["Store", 0]);
  await context.close();
});

test("IndexedDB: what could not be kept is told", async () => {
  const page = await open();
  const told = await page.evaluate(async () => {
    let heard;
    const store = await api.openIndexedDB("failing", { onError: (error) => (heard = error.kind) });
    const lua = new api.Sandbox({ store });
    IDBObjectStore.prototype.put = () => {
      throw new DOMException("no room", "QuotaExceededError");
    };
    lua.compute("_home.x = 1");
    const flushed = await store.flush().then(() => "kept", (error) => error.message);
    try {
      lua.compute("_home.y = 1");
    } catch (error) {
      return [heard, flushed, error.kind, lua.home.has("y")];
    }
  });
  assert.deepEqual(told, ["Store", "what was stored last could not be kept: no room", "Store", false]);
  await page.close();
});

test("in a worker", async () => {
  const page = await open();
  const result = await page.evaluate(async () => {
    const engine = await api.Engine.load();
    const worker = new Worker("/test/worker.js", { type: "module" });
    const answer = new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
    worker.postMessage(engine.module);
    return answer;
  });
  assert.equal(result, 42);
  await page.close();
});
