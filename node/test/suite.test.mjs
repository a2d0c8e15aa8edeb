// What luacell/wasm promises holds here too: the same suite.

import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker, isMainThread } from 'node:worker_threads';

import * as api from 'luacell';
import * as suites from '../wasm/test/suite.js';

// Some tests have garbage collected, where that is possible.
setFlagsFromString('--expose-gc');
globalThis.gc = runInNewContext('gc');

const others = [
  // The interface of stores differs: see sandbox.test.mjs.
  "a store of one's own",
  'a store to take no functions from',
  'a store has one writer',
  'a run that was stored has succeeded, whatever comes afterwards',
  // Here it is Busy: runs are on another thread.
  'a promise inside of another host function is refused',
  // Here a thread waits there.
  'where nothing can wait the error says so',
  // The interface of stores differs: see waiting.test.mjs.
  'limits of a restored run, and what it needs',
  'durable runs',
  'a durable run that has no room, or whose sandbox is closed, waits on',
  'how durable runs end',
  'durable runs end once, wherever the process ends and the store fails',
  // It turns JavaScript's clock; the addon asks the machine's. The same is tested in core/tests.
  'the clock is looked at after every host call',
];

const cases = Object.entries({ ...suites.suite, ...suites.waitingSuite }).filter(([name]) => !others.includes(name));

if (isMainThread) {
  for (const [name, run] of cases) test(name, () => run(api));

  test('the same in a worker', async () => {
    const worker = new Worker(new URL(import.meta.url));
    const code = await new Promise((resolve, reject) => worker.once('error', reject).once('exit', resolve));
    if (code !== 0) throw new Error(`the worker ended with ${code}`);
  });
} else {
  for (const [, run] of cases) await run(api);
}
