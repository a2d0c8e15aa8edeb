// The playground in headless Chromium.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, test } from "node:test";

import { browser, context, faults, openPage, server } from "./pages.mjs";

let page;

beforeEach(async () => {
  page = await open();
});

async function open(init) {
  const page = await openPage("", init);
  await ready(page);
  return page;
}

const ready = (page) => page.waitForSelector("#run:not([disabled])");
const text = async (selector) => (await page.locator(selector).innerText()).replace(/\n\n+/g, "\n");

/** Runs this source, and waits for its end. */
async function run(source) {
  if (source !== undefined) await page.fill("#source", source);
  await page.click("#run");
  await page.waitForSelector("#stop", { state: "hidden" });
}

test("runs, prints, and shows results", async () => {
  await run("print('Hello', 6 * 7)\nreturn 1, 1.0, 'x', {1, {a = true}}, nil");
  assert.equal(await text("#output"), "Hello\t42\n1, 1.0, \"x\", {1, {a = true}}, nil");
  assert.match(await text("#status"), /ms · [0-9,]+ instructions · [0-9]+ KiB/);
  await run("x = (x or 0) + 1 return x");
  await run("return x");
  assert.equal(await text("#output"), "1", "globals stay");
  await run("local x");
  assert.match(await text("#output"), /printed nothing/);
  assert.deepEqual(faults, []);
});

test("shows errors, and marks their line", async () => {
  await run("local a = 1\nprint('before')\nerror('no good')\n");
  assert.match(await text("#output"), /^before\nRuntime in line 3\nscript:3: no good/);
  assert.equal(await text(".gutter .bad"), "3");
  assert.equal(await text(".code .bad-line"), "error('no good')");
  await page.click("#output .failure summary");
  assert.match(await text("#output .failure details"), /script:3: in main chunk/);
  await page.click("#output .failure button");
  assert.equal(await page.evaluate(() => document.activeElement.id), "source");
  assert.equal(await page.evaluate(() => source.value.slice(source.selectionStart, source.selectionEnd)), "error('no good')");
  await page.keyboard.type("return 5");
  assert.equal(await page.locator(".bad").count(), 0, "the mark goes with the next change");
  await page.keyboard.press("Control+Enter");
  await page.waitForSelector("#output .result");
  await run("x = = 1");
  assert.match(await text("#output"), /^Syntax in line 1/);
});

test("shows kept tables, and keeps them and the script over a reload", async () => {
  assert.match(await text("#home"), /stays here/);
  await run("_home.n = (_home.n or 0) + 1 _home.list = {'a', {b = 2.5}} _home[1] = true _home['odd key'] = function() end");
  assert.match(await text("#home"), /1 = true\s*list 2 entries\s*1 = "a"\s*2 1 entry\s*(b = 2.5\s*)?n = 1\s*"odd key" = function|1 = true/);
  await page.waitForFunction(() => saved.textContent === "Saved");
  for (const n of [2, 3]) {
    await page.reload();
    await ready(page);
    assert.match(await text("#home"), new RegExp(`n = ${n - 1}`));
    assert.match(await page.inputValue("#source"), /_home\.n or 0/);
    await run();
    assert.match(await text("#home"), new RegExp(`n = ${n}`));
  }
  // Closed tables stay closed.
  await page.locator("#home details", { hasText: "list" }).first().locator("> summary").click();
  await run();
  assert.equal(await page.locator("#home details", { hasText: "list" }).first().evaluate((details) => details.open), false);
  await run("_home.n = 100 error('x')");
  assert.match(await text("#home"), /n = 4/);
  assert.deepEqual(faults, []);
});

test("stops a script that waits, and globals stay", async () => {
  await run("kept = 7 _home.before = 1");
  await page.fill("#source", "_home.lost = 1 print('running') while true do sleep(0.01) end");
  await page.click("#run");
  await page.locator("#output", { hasText: "running" }).waitFor();
  assert.match(await text("#status"), /Running/);
  await page.click("#stop");
  await page.waitForSelector("#stop", { state: "hidden" });
  assert.match(await text("#output"), /running\nStopped\. Nothing of this run was kept\./);
  assert.equal((await text("#home")).trim(), "before = 1");
  await run("return kept");
  assert.equal(await text("#output"), "7");
});

test("stops a runaway script, with its worker", async () => {
  await run("_home.before = 1");
  await page.waitForFunction(() => saved.textContent === "Saved");
  await page.fill("#source", "_home.lost = 1 print('running') while true do end");
  await page.click("#run");
  await page.locator("#output", { hasText: "running" }).waitFor();
  await page.click("#stop");
  await page.waitForSelector("#stop", { state: "hidden" });
  assert.match(await text("#output"), /Lua was restarted/);
  await ready(page);
  await run("return _home.before, _home.lost");
  assert.equal(await text("#output"), "1, nil");
});

test("a script that waits leaves the page alone", async () => {
  await run("print('a') sleep(0.02) print('b')");
  assert.match(await text("#output"), /^a\nb/);
});

test("every example does what it says", async () => {
  const names = await page.locator("#examples optgroup option").allInnerTexts();
  assert.ok(names.length >= 8);
  for (const name of names.filter((name) => name !== "A runaway script")) {
    await page.selectOption("#examples", name);
    await run();
    const failed = (await page.locator("#output .failure").count()) > 0;
    assert.equal(failed, name === "An error", `${name}: ${await text("#output")}`);
  }
  await page.selectOption("#examples", "All or nothing");
  await run();
  assert.match(await text("#output"), /alice has too little money/);
  assert.match(await text("#home"), /alice = 100/);
  assert.deepEqual(faults, []);
});

test("clear takes two presses; restart drops globals", async () => {
  await run("_home.x = {1, 2} g = 1");
  await page.click("#clear");
  assert.match(await text("#home"), /x 2 entries/);
  assert.equal(await text("#clear"), "Clear all?");
  await page.click("#clear");
  await page.locator("#home .empty").waitFor();
  await run("_home.y = 1");
  await page.click("#reset");
  await page.locator("#output .note").waitFor();
  await run("return g, _home.y");
  assert.equal(await text("#output"), "nil, 1");
  await page.reload();
  await ready(page);
  assert.equal((await text("#home")).trim(), "y = 1");
});

test("works with the keyboard alone", async () => {
  const focused = () => page.evaluate(() => document.activeElement.id);
  const order = [];
  for (let i = 0; i < 4; i++) {
    await page.keyboard.press("Tab");
    order.push(await focused());
  }
  assert.deepEqual(order, ["examples", "theme", "run", "source"]);
  await page.fill("#source", "");
  await page.keyboard.type("for i = 1, 2 do\nprint(i)");
  assert.equal(await page.inputValue("#source"), "for i = 1, 2 do\n  print(i)", "a block is indented");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.type("end");
  await page.keyboard.press("Control+Enter");
  await page.locator("#output", { hasText: "2" }).waitFor();
  assert.equal((await text("#output pre >> nth=0")).trim(), "1\n2");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "source", "Tab indents");
  await page.keyboard.press("Control+z");
  assert.equal(await page.inputValue("#source"), "for i = 1, 2 do\n  print(i)\nend", "and can be undone");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "output");
  await page.keyboard.press("Shift+Tab");
  await page.fill("#source", "while true do end");
  await page.focus("#run");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#stop:focus");
  await page.keyboard.press("Control+.");
  await page.waitForSelector("#run:focus");
});

test("a second tab says that it does not save", async () => {
  await run("_home.x = 1");
  const first = page;
  page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(`${server.url}/`);
  await ready(page);
  assert.match(await text("#banner"), /Tables are not saved: the database 'luacell-playground' is in use/);
  await run("_home.y = 1 return _home.x");
  assert.equal(await text("#output"), "nil");
  await first.close();
});

test("output of a flood stays within bounds", async () => {
  await page.fill("#source", "while true do print(('x'):rep(1000)) end");
  await page.click("#run");
  await page.locator("#output", { hasText: "earlier output is gone" }).waitFor();
  await page.click("#stop");
  await page.waitForSelector("#stop", { state: "hidden" });
  assert.ok((await page.evaluate(() => output.textContent.length)) < 250_000);
});

test("scripts can't put HTML into the page", async () => {
  const evil = "<img src=x onerror=alert(1)>";
  await run(`print("${evil}") _home["${evil}"] = "${evil}" return "${evil}"`);
  await run(`error("${evil}")`);
  assert.equal(await page.locator("main img").count(), 0);
});

test("colours: light, dark, and as the system has them", async () => {
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await background();
  await page.emulateMedia({ colorScheme: "dark" });
  assert.notEqual(await background(), light);
  await page.click("#theme");
  assert.equal(await background(), light);
  await page.reload();
  assert.equal(await background(), light, "it is remembered");
});

test("long text among kept tables is cut, and whole when it is opened", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  await run(`_home.long = ("value "):rep(300) _home.list = {("x"):rep(1000)} _home.z = 1`);
  const lines = async (selector) => Math.round((await page.locator(selector).first().boundingBox()).height / 24);
  assert.ok((await lines("#home > ul > li:has(> details > summary > .start)")) <= 5, "the text takes a few lines");
  const z = page.locator("#home li", { hasText: /^z = 1$/ });
  const panel = await page.locator("#home").boundingBox();
  const box = await z.boundingBox();
  assert.ok(box.y + box.height <= panel.y + panel.height, "what comes after it is in view");
  await page.locator("#home summary", { hasText: "long = " }).click();
  assert.equal((await text("#home details[open] > .value")).match(/value /g).length, 300);
  await run();
  assert.ok(await page.locator("#home details[open] > .value").isVisible(), "it stays open");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 360));
});

test("the list of examples has its arrow inside", async () => {
  for (const width of [360, 1200]) {
    await page.setViewportSize({ width, height: 740 });
    const style = await page.locator("#examples").evaluate((select) => {
      const { appearance, paddingRight, backgroundPosition } = getComputedStyle(select);
      return { appearance, paddingRight, backgroundPosition };
    });
    assert.equal(style.appearance, "none");
    assert.ok(Number.parseFloat(style.paddingRight) >= 30, "text ends before it");
    assert.match(style.backgroundPosition, /calc\(100% - 14px\)/);
  }
});

test("the part that README.md shows", async () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const [, part] = readme.match(/^```js\n(.*?)^```/ms);
  const other = await browser.newContext(); // the playground has its tables open
  const page = await other.newPage();
  await page.goto(`${server.url}/show.js`);
  const ran = await page.evaluate(async (part) => {
    const { Sandbox, openIndexedDB } = await import("/luacell/wasm/src/esm.js");
    const given = { Sandbox, openIndexedDB, printed: "", controller: new AbortController() };
    given.onPrint = (text) => (given.printed += text);
    given.source = "local before = 'slept' sleep(0.01) print(before) return 7";
    const run = new Function("given", `return (async () => { with (given) { ${part} return { values, instructions: metrics.instructions }; } })()`);
    return { ...(await run(given)), printed: given.printed };
  }, part);
  assert.deepEqual(ran.values, [7]);
  assert.equal(ran.printed, "slept\n");
  assert.ok(ran.instructions > 0);
  await other.close();
});

test("fits a phone", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  await run(`_home["${"long".repeat(40)}"] = "${"value".repeat(60)}" print(("x"):rep(500)) error(("y"):rep(300))`);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 360), "nothing is wider than the screen");
  for (const name of ["run", "clear", "reset", "theme"]) {
    const box = await page.locator(`#${name}`).boundingBox();
    assert.ok(box.height >= 36 && box.x >= 0 && box.x + box.width <= 360, name);
  }
});
