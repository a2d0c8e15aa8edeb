// Compiled, not run: what users write has these types.

import { Engine, LuaCellError, LuaFloat, Run, Sandbox, Snapshot, StoredTable, expose, multiple, openIndexedDB, wrap } from '../../dist/esm/wasm/src/esm.js';
import type { AsyncStartOptions, ErrorKind, ExposeOptions, HostFunction, LuaFunction, LuaValue, Outcome, PendingRun, Request, StartOptions, TableStore, Wrapped } from '../../dist/esm/wasm/src/esm.js';

interface Item {
  name: string;
  count?: number;
}
interface Order {
  id: number;
  items: readonly Item[];
  note: string | null;
}
declare const order: Order;

const engine: Engine = await Engine.load();
const store: TableStore = await openIndexedDB('name', { onError: (error: LuaCellError) => console.error(error.kind) });
{
  using lua = new Sandbox({
    engine,
    store,
    memoryLimit: '64MiB',
    timeout: 500,
    instructionLimit: 1e6,
    outputLimit: 1000,
    storeLimit: { bytes: '1MiB', entries: 10 },
    hostCallLimit: null,
    onPrint: (text: string) => void text,
    modules: { m: 'return 1' },
    seed: 7n,
  });
  const n: number = lua.compute('return ...', 1, 'x', null, undefined, [1, [2]], { a: { b: 1 } }, new Map([[1, 2]]), 5n, new Uint8Array(1), new LuaFloat(1));
  const outcome: Outcome = lua.computeWith('return 1', { args: [1], name: '=x', timeout: n });
  const values: LuaValue[] = outcome.values;
  const later: Promise<string> = lua.computeAsync('return 1', { signal: new AbortController().signal, args: values });
  const f: HostFunction = async (a: string, b: number) => a.repeat(b);
  lua.register('f', f).register('g', () => multiple(1, 2)).register('h', () => {});
  lua.compute('return ...', order, [order], { order }, new Map([[order.id, order]]));
  lua.call('f', order);
  lua.register('one', async () => multiple(1, order)).register('nothing', async () => {});
  lua.call('each', [(x: number) => 2 * x, async (s: string) => s], { done: (...all: string[]) => all.length });
  lua.register('handler', () => (x: number) => x).home.get('x');
  lua.home.set('order', order);
  lua.input = order;
  class Point {
    constructor(readonly x: number) {}
    plus(y: number): Point {
      return new Point(this.x + y);
    }
    *[Symbol.iterator](): Generator<number> {
      yield this.x;
    }
  }
  const options_: ExposeOptions = { methods: ['plus', Symbol.iterator], fields: ['x'], metamethods: { __add: (a: Point, b: number) => wrap(a.plus(b)) } };
  const exposed: typeof Point = expose(Point, options_);
  const wrapped: Wrapped = wrap(new exposed(1), { writable: [] });
  lua.compute('', wrapped, [1, 2].values(), [wrapped], new Map([[1, 2]]).entries(), (function* () { yield multiple(1, 2); })(), (async function* () { yield 1; })());
  lua.register('point', () => wrapped).register('rows', function* () { yield multiple(1, order); }).register('later', async function* () { yield 1; });
  const iterable: LuaFunction = lua.compute('return next');
  for (const x of iterable) for (const y of iterable.iterate({ x })) lua.call('f', x, y, iterable);
  const home: StoredTable = lua.home;
  for (const [key, value] of home) lua.home.set(key, value);
  const options: StartOptions = { args: [order], timeout: 5, durable: 'order-17' };
  const started: Run = lua.declare('ask').start('return ask()', options);
  {
    using run = lua.startCall('f', { args: [1] });
    void run;
  }
  const asyncOptions: AsyncStartOptions = { ...options, signal: new AbortController().signal };
  const asynchronous: Promise<Run> = lua.startAsync('return ask()', asyncOptions);
  await (await lua.startCallAsync('f')).resumeAsync();
  for (const { id, name, args } of started.requests as Request[]) {
    const seen: [number, string, LuaValue[]] = [id, name, args];
    started.answer(id, 1, order, [seen]);
    started.fail(id, new Error(name));
    started.fail(id, name);
  }
  if (started.waiting) started.resume();
  started.renew();
  started.cancel();
  const given: [string | undefined, string, Outcome] = [started.name, started.result, started.outcome];
  const restored: Run | undefined = lua.waitingRun();
  const pending: PendingRun[] = lua.pendingRuns();
  for (const { name, claimed } of pending) if (claimed === undefined && !lua.dropPendingRun(name)) lua.resume(name);
  void [asynchronous, given, restored];
  lua.input = { a: [1] };
  lua.output = undefined;
  const snapshot: Snapshot = Snapshot.fromBytes(lua.snapshot().toBytes());
  lua.restore(snapshot);
  const fork: Sandbox = lua.fork();
  fork.close();
  void [later, outcome.metrics.wallTime.toFixed(), lua.memoryStats().luaBytes.toFixed()];
  try {
    lua.compute('x =');
  } catch (error) {
    if (error instanceof LuaCellError) {
      const kind: ErrorKind = error.kind;
      const line: number | undefined = error.line;
      void [kind, line, error.cause];
    }
  }
}
// @ts-expect-error: a limit is no boolean
new Sandbox({ timeout: true });
// @ts-expect-error: a name is text
new Sandbox({ claimTerm: 5 }).start('', { durable: 5 });
// @ts-expect-error: a symbol is no answer
new Sandbox().start('').answer(1, Symbol('x'));
// @ts-expect-error: source is text or bytes
new Sandbox().compute(5);
// @ts-expect-error: a symbol can't be passed
new Sandbox().compute('', Symbol('x'));
// @ts-expect-error: a date is no value
new Sandbox().compute('', new Date());
// @ts-expect-error: no such metamethod
wrap({}, { metamethods: { __gc: () => 1 } });
// @ts-expect-error: expose takes a class
expose({});
// @ts-expect-error: no such kind
const kind: ErrorKind = 'Nonsense';
void kind;
