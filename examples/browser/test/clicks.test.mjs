// The page that waits for clicks, in headless Chromium, without what suspends WebAssembly there.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { context, faults, openPage } from "./pages.mjs";

let page;

/** The page in a new tab, where time passes when a test says so. */
async function openPaused() {
  await context.clock.install({ time: 0 });
  const page = await open();
  await context.clock.pauseAt(600_000);
  return page;
}

async function open() {
  const page = await openPage("clicks.html", () => {
    delete WebAssembly.Suspending;
    delete WebAssembly.promising;
  });
  await ready(page);
  return page;
}

const ready = (page) => page.waitForSelector("#start:not([disabled])", { state: "attached" });
const output = () => page.locator("#output").innerText();
const saved = () => page.waitForFunction(() => saved.textContent === "Saved");

test("counts clicks until the time is over", async () => {
  page = await openPaused();
  assert.equal(await page.evaluate(() => "Suspending" in WebAssembly), false);
  assert.ok(await page.isDisabled("#click"));
  await page.click("#start");
  assert.equal(await output(), "clicks: 0, seconds left: 10");
  for (let i = 0; i < 3; i++) await page.click("#click");
  assert.equal(await output(), "clicks: 3, seconds left: 10");
  await page.clock.runFor(4000);
  await page.click("#click");
  assert.equal(await output(), "clicks: 4, seconds left: 6");
  await page.clock.runFor(6000);
  assert.equal(await output(), "clicks in all: 4");
  assert.ok(await page.isDisabled("#click"));
  await page.click("#start");
  assert.equal(await output(), "clicks: 0, seconds left: 10");
  assert.deepEqual(faults, []);
});

test("goes on after a reload", async () => {
  page = await openPaused();
  await page.click("#start");
  await page.click("#click");
  await page.clock.runFor(3000);
  await page.click("#click");
  await saved();
  await page.reload();
  await ready(page);
  assert.ok(await page.isVisible("#stop"));
  await page.click("#click");
  assert.equal(await output(), "clicks: 3, seconds left: 7");
  await page.clock.runFor(7000);
  assert.equal(await output(), "clicks in all: 3");
  await saved();
  await page.reload();
  await ready(page);
  assert.match(await output(), /Press Start/);
  assert.deepEqual(faults, []);
});

test("a run that was stopped does not come back", async () => {
  page = await openPaused();
  await page.click("#start");
  await page.click("#stop");
  assert.match(await output(), /cancelled/);
  await page.clock.runFor(2000);
  await saved();
  await page.reload();
  await ready(page);
  assert.ok(await page.isVisible("#start"));
  assert.deepEqual(faults, []);
});

async function run(source) {
  await page.fill("#source", source);
  await page.click("#start");
}

test("other scripts: errors, one click for all who wait, task.sleep", async () => {
  page = await openPaused();
  await run("error('no good')");
  assert.equal(await output(), "script:1: no good");
  await run("x = = 1");
  assert.match(await output(), /^script:1: unexpected symbol/);
  await run("local task = require 'task' task.all(click, click) task.sleep(2) return 'both'");
  await page.click("#click");
  await page.clock.runFor(1999);
  assert.ok(await page.isVisible("#stop"));
  await page.clock.runFor(1);
  assert.equal(await output(), "both");
  assert.deepEqual(faults, []);
});

test("a script that never ends holds the page up for a moment", async () => {
  page = await open();
  await run("while true do end");
  assert.match(await output(), /time limit/);
  assert.ok(await page.isVisible("#start"));
  assert.deepEqual(faults, []);
});

test("a second tab plays, and says that it is not saved", async () => {
  const first = await open();
  page = await open();
  await page.click("#start");
  await page.click("#click");
  assert.match(await output(), /^clicks: 1, /);
  assert.equal(await page.locator("#saved").innerText(), "Not saved");
  await first.close();
  assert.deepEqual(faults, []);
});

test("fits a phone", async () => {
  page = await openPaused();
  await page.setViewportSize({ width: 360, height: 740 });
  await page.click("#start");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 360), "nothing is wider than the screen");
  const box = await page.locator("#click").boundingBox();
  assert.ok(box.height >= 120 && box.y + box.height <= 740, "the button is large, and in view");
});

test("README.md shows a part of clicks.js", () => {
  const read = (name) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");
  const blocks = [...read("README.md").matchAll(/^```js\n(.*?)^```/gms)].map(([, block]) => block);
  assert.equal(blocks.length, 2, "playground.test.mjs runs the first one");
  assert.ok(read("public/clicks.js").includes(blocks[1]));
});
