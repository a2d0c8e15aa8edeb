// A rules engine: the rules are Lua, in ../rules.lua; prices come from here, counters are kept in `_home`.

import { readFileSync } from 'node:fs';

import { LuaCellError, Sandbox } from 'luacell';

const rules = readFileSync(new URL('../rules.lua', import.meta.url), 'utf8');
const prices = { tea: 3.5, cake: 2.25 };

const orders = [
  { customer: 'Ada', box: 4, items: [{ article: 'tea', count: 2 }, { article: 'cake', count: 1 }] },
  { customer: 'Ada', box: 4, items: [{ article: 'moon', count: 1 }] },
  { customer: 'Grace', box: 4, items: [{ article: 'tea', count: 10 }] },
  { customer: 'Eve', box: 0, items: [{ article: 'tea', count: 1 }] },
  { customer: 'Ada', box: 1, items: [{ article: 'tea', count: 1 }] },
];

// With `store: 'orders.luacell'` the counters would outlive the program.
const lua = new Sandbox({ memoryLimit: '16MiB', instructionLimit: 100_000 });
lua.register('price', (article) => prices[article]);
lua.computeWith(rules, { name: '=rules' });

for (const [i, order] of orders.entries()) {
  lua.input = order;
  console.log(`order ${i + 1}: ${decide()}`);
}
console.log(lua.call('report'));
lua.close();

function decide() {
  try {
    return lua.call('decide');
  } catch (error) {
    if (!(error instanceof LuaCellError)) throw error;
    return error.kind === 'InstructionLimit' ? 'stopped' : `refused: ${error.message}`;
  }
}
