// What the tests of both pages need: the built folder on a server, and a Chromium that forgets everything after each test.

import { after, before, beforeEach } from "node:test";
import { fileURLToPath } from "node:url";

import { launch, serve } from "../../../node/wasm/tools/chromium.mjs";

/** The context is the present test's; `faults` is what its pages threw and nobody caught. */
export let server, browser, context, faults;

before(async () => {
  await import("../build.mjs");
  server = await serve(fileURLToPath(new URL("../dist", import.meta.url)));
  browser = await launch();
});
after(async () => {
  await context?.close();
  await browser?.close();
  await server?.close();
});
beforeEach(async () => {
  await context?.close();
  context = await browser.newContext();
  faults = [];
});

/** A page in a new tab; `init` runs in it before its own code. */
export async function openPage(path, init) {
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  page.on("pageerror", (error) => faults.push(String(error)));
  if (init) await page.addInitScript(init);
  await page.goto(`${server.url}/${path}`);
  return page;
}
