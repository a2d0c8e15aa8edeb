// The package for Node.js beside a plain host of lua.wasm that is written in JavaScript (examples/nodejs-example). Both
// take turns; prints what node/bench.mjs prints.
//
//     node node-host.mjs [--quick]

import { readFileSync } from 'node:fs';

import { LuaTable } from '../../examples/nodejs-example/src/values.js';
import { LuaVm } from '../../examples/nodejs-example/src/vm.js';
import { Sandbox } from '../../node/index.mjs';

const rounds = process.argv.includes('--quick') ? 5 : 15;
const now = () => Number(process.hrtime.bigint());
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const shown = (ns) => (ns < 1e4 ? `${ns.toFixed(0)} ns` : ns < 1e6 ? `${(ns / 1e3).toFixed(1)} µs` : `${(ns / 1e6).toFixed(2)} ms`);

function each(count, call) {
  for (let i = 0; i < count / 10; i++) call();
  const start = now();
  for (let i = 0; i < count; i++) call();
  return (now() - start) / count;
}

function compare(what, count, peer, ours) {
  const pairs = Array.from({ length: rounds }, (_, i) => {
    if (i % 2 === 0) return [each(count, peer), each(count, ours)];
    const mine = each(count, ours);
    return [each(count, peer), mine];
  });
  const ratio = median(pairs.map(([theirs, mine]) => mine / theirs));
  const [theirs, mine] = [0, 1].map((side) => shown(median(pairs.map((pair) => pair[side]))));
  console.log([what, theirs, mine, ratio.toFixed(2), `at most 1.00: ${ratio <= 1 ? 'met' : 'MISSED'}`].join('\t'));
}

const check = (is, expected) => {
  if (is !== expected) throw new Error(`${is} is not ${expected}`);
};

const module = new WebAssembly.Module(readFileSync(new URL('../../core/guest/lua.wasm', import.meta.url)));
const newVm = () => new LuaVm(module, { revision: 2 });

compare(
  'new instance, `return 1+1`, dropped',
  20,
  () => check(newVm().compute('return 1+1').values[0], 2n),
  () => {
    const sandbox = new Sandbox();
    check(sandbox.compute('return 1+1'), 2);
    sandbox.close();
  },
);

const functions = `function sum(a, b) return a + b end
  function total(list) local s = 0 for i = 1, #list do local r = list[i] s = s + r.id + r.value + #r.name end return s end
  local kept = {} for i = 1, 1000 do kept[i] = {id = i, name = 'record ' .. i, value = i * 0.5} end
  function make() return kept end`;
const vm = newVm();
vm.compute(functions);
const sandbox = new Sandbox();
sandbox.compute(functions);

compare(
  '`return 1+1`',
  5000,
  () => check(vm.compute('return 1+1').values[0], 2n),
  () => check(sandbox.compute('return 1+1'), 2),
);
compare(
  'calling a Lua function, two integers to one',
  5000,
  () => check(vm.call('sum', [1n, 2n]).values[0], 3n),
  () => check(sandbox.call('sum', 1, 2), 3),
);

const records = Array.from({ length: 1000 }, (_, i) => ({ id: i + 1, name: `record ${i + 1}`, value: (i + 1) * 0.5 }));
const toLua = (list) =>
  new LuaTable(
    list.map(({ id, name, value }, i) => [
      BigInt(i + 1),
      new LuaTable([
        ['id', BigInt(id)],
        ['name', name],
        ['value', value],
      ]),
    ]),
  );
compare(
  '1,000 records of three fields passed in, added up',
  10,
  () => check(vm.call('total', [toLua(records)]).values[0], 760643),
  () => check(sandbox.call('total', records), 760643),
);

const fromLua = (table) =>
  table.entries.map(([, record]) =>
    Object.fromEntries(record.entries.map(([key, value]) => [key.toString(), Buffer.isBuffer(value) ? value.toString() : Number(value)])),
  );
compare(
  '1,000 records of three fields as a result',
  10,
  () => check(fromLua(vm.call('make').values[0]).length, 1000),
  () => check(sandbox.call('make').length, 1000),
);
process.exit();
