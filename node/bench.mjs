// luacell beside wasmoon, in one run: both take turns, a ratio is the median of the ratios of neighbouring rounds.
//
//     node bench.mjs [--quick]      prints what, wasmoon's figure, ours, the ratio, the goal, between tabs; fails when a goal is missed

import { readFileSync, readdirSync } from 'node:fs';

import { Sandbox } from 'luacell';
import { LuaFactory } from 'wasmoon';

const quick = process.argv.includes('--quick');
const rounds = quick ? 5 : 15;
const now = () => Number(process.hrtime.bigint());
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const shown = (ns) => (ns < 1e4 ? `${ns.toFixed(0)} ns` : ns < 1e6 ? `${(ns / 1e3).toFixed(1)} µs` : `${(ns / 1e6).toFixed(2)} ms`);

const rows = [];

function row(what, pairs, goal) {
  const ratio = median(pairs.map(([ours, peer]) => ours / peer));
  const verdict = goal === undefined ? '' : `at most ${goal}: ${ratio <= goal ? 'met' : 'MISSED'}`;
  rows.push([what, shown(median(pairs.map(([, peer]) => peer))), shown(median(pairs.map(([ours]) => ours))), ratio.toFixed(ratio < 0.1 ? 4 : 3), verdict]);
  return ratio;
}

/** Nanoseconds of one call. */
function each(count, call) {
  const start = now();
  for (let i = 0; i < count; i++) call(i);
  return (now() - start) / count;
}

/** Measures both in turns. `peer` gets a new engine for each round: old ones fail after some dozens of runs. */
async function compare(what, goal, counts, ours, peer) {
  const pairs = [];
  for (let i = 0; i <= rounds; i++) {
    const pair = [await ours(counts[0]), await peer(counts[1])];
    if (i > 0) pairs.push(pair);
  }
  row(what, pairs, goal);
}

// The very first one, once: everything is loaded, nothing was run.
const factory = new LuaFactory();
let start = now();
const first = new Sandbox();
first.compute('return 1');
const oursFirst = now() - start;
start = now();
const engine = await factory.createEngine();
engine.doStringSync('return 1');
const peerFirst = now() - start;
engine.global.close();
row('first sandbox, with `return 1`', [[oursFirst, peerFirst]], 0.2);

await compare(
  'further sandboxes, made and closed',
  0.05,
  [100, 2],
  (n) => each(n, () => new Sandbox().close()),
  async (n) => {
    const begin = now();
    for (let i = 0; i < n; i++) (await factory.createEngine()).global.close();
    return (now() - begin) / n;
  },
);

const withEngine = async (use) => {
  const lua = await factory.createEngine();
  try {
    return await use(lua);
  } finally {
    lua.global.close();
  }
};

const lua = new Sandbox();
await compare(
  '`return 1+1` / doStringSync',
  0.1,
  [5000, 500],
  (n) => each(n, () => lua.compute('return 1+1')),
  (n) => withEngine((peer) => each(n, () => peer.doStringSync('return 1+1'))),
);

const add = 'function add(a, b) return a + b end';
lua.compute(add);
await compare(
  'calling a Lua function, two numbers to one',
  0.3,
  [5000, 500],
  (n) => each(n, (i) => lua.call('add', i, 1)),
  (n) =>
    withEngine((peer) => {
      peer.doStringSync(add);
      const f = peer.global.get('add');
      return each(n, (i) => f(i, 1));
    }),
);

lua.register('plus', (a, b) => a + b);
const loop = 'local s = 0 for i = 1, 500 do s = plus(s, i) end return s';
await compare(
  'calling a JavaScript function from Lua, 500 times',
  undefined,
  [10, 1],
  (n) => each(n, () => lua.compute(loop)),
  (n) =>
    withEngine((peer) => {
      peer.global.set('plus', (a, b) => a + b);
      return each(n, () => peer.doStringSync(loop));
    }),
);

const records = Array.from({ length: 1000 }, (_, id) => ({ id, name: `item ${id}`, price: id * 1.5 }));
const total = 'function total(list) local s = 0 for i = 1, #list do local r = list[i] s = s + r.id + r.price + #r.name end return s end';
lua.compute(total);
await compare(
  'reading 1,000 records of three fields passed in',
  0.05,
  [5, 1],
  (n) => each(n, () => lua.call('total', records)),
  (n) =>
    withEngine((peer) => {
      peer.doStringSync(total);
      const f = peer.global.get('total');
      return each(n, () => f(records));
    }),
);

const make = "function make() local t = {} for i = 1, 1000 do t[i] = {id = i, name = 'item ' .. i, price = i * 1.5} end return t end";
lua.compute(make);
await compare(
  '1,000 records of three fields as a result',
  undefined,
  [5, 1],
  (n) => each(n, () => lua.call('make')),
  (n) =>
    withEngine((peer) => {
      peer.doStringSync(make);
      const f = peer.global.get('make');
      return each(n, () => f());
    }),
);

const folder = new URL('../xtask/programs/', import.meta.url);
const ratios = [];
for (const file of readdirSync(folder).filter((name) => name.endsWith('.lua')).sort()) {
  const source = readFileSync(new URL(file, folder), 'utf8');
  const pairs = [];
  for (let i = 0; i < (quick ? 1 : 3); i++) {
    let begin = now();
    const ours = new Sandbox().compute(source);
    const mine = now() - begin;
    const theirs = await withEngine((peer) => {
      begin = now();
      return peer.doStringSync(source);
    });
    pairs.push([mine, now() - begin]);
    if (String(ours) !== String(theirs)) throw new Error(`${file}: ${ours} and ${theirs}`);
  }
  ratios.push(row(file.replace('.lua', ''), pairs));
}
const mean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
rows.push([`**geometric mean of ${ratios.length} programs**`, '', '', `**${mean.toFixed(2)}**`, `at most 0.90: ${mean <= 0.9 ? 'met' : 'MISSED'}`]);

// No peer has this: a thread of libuv's for each run, four by default, would take 25 s.
const sandboxes = Array.from({ length: 1000 }, () => new Sandbox().register('wait', () => new Promise((resolve) => setTimeout(resolve, 100))));
const times = [];
for (let i = 0; i < 5; i++) {
  const begin = now();
  await Promise.all(sandboxes.map((one) => one.computeAsync('wait()')));
  times.push(now() - begin);
}
rows.push(['1,000 runs at a time that wait 100 ms each', '', shown(median(times)), '', `at most 500 ms: ${median(times) <= 500e6 ? 'met' : 'MISSED'}`]);

for (const cells of rows) console.log(cells.join('\t'));
if (rows.some((cells) => cells[4].includes('MISSED'))) process.exitCode = 1;
process.exit();
