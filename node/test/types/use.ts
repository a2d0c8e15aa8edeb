// Compiled with --strict, as an ES module and as CommonJS; never run. What must not compile is marked so.

import {
  Engine,
  type ErrorKind,
  type HostFunction,
  LuaCellError,
  LuaFloat,
  type LuaFunction,
  type LuaValue,
  type MemoryStats,
  type Outcome,
  type PendingRun,
  type Request,
  type Run,
  Sandbox,
  type SandboxOptions,
  Snapshot,
  StoredTable,
  type TableStore,
  multiple,
} from 'luacell';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Whether the value has exactly this type. */
const expectType = <T,>() => <U,>(_: U, ..._same: Equal<T, U> extends true ? [] : [never]): void => {};

const store: TableStore = { get: () => undefined, set() {}, delete() {}, size: () => 0, keys: () => [] };
const options: SandboxOptions = {
  memoryLimit: '64MiB',
  timeout: 500,
  instructionLimit: 1e6,
  outputLimit: 1024,
  storeLimit: { bytes: '1MB', entries: 10 },
  hostCallLimit: null,
  store,
  onPrint: (text) => expectType<string>()(text),
  modules: (name) => ({ source: name, chunkName: '@x' }),
  seed: 7n,
  claimTerm: 60_000,
  queueRuns: true,
  engine: new Engine({ poolSize: 10 }),
};
const lua = new Sandbox(options);
new Sandbox({ store: 'state.luacell', modules: { a: 'return 1' } });
expectType<Promise<Sandbox>>()(Sandbox.create());

expectType<any>()(lua.compute('return ...', 1, 2n, 'x', null, undefined, [1, { a: new LuaFloat(3) }], new Map([[1, 'a']]), Buffer.from('x')));
const outcome = lua.computeWith('return 1', { args: [1], name: '=x', timeout: 5 });
expectType<Outcome>()(outcome);
expectType<LuaValue[]>()(outcome.values);
expectType<string>()(outcome.output);
expectType<number>()(outcome.metrics.instructions);
expectType<Promise<any>>()(lua.computeAsync('return 1', { args: ['x'], signal: AbortSignal.timeout(5) }));
expectType<Promise<Outcome>>()(lua.computeAsyncWith('return 1'));
expectType<Promise<any>>()(lua.callAsync('f', { args: [1] }));
expectType<any>()(lua.call('f', 1));
const run = lua.declare('ask').start('return ask()', { args: [1], durable: 'order-17', timeout: 5 });
expectType<Run>()(run);
expectType<Request[]>()(run.requests);
for (const { id, name, args } of run.requests) expectType<number>()(id), expectType<string>()(name), run.answer(id, ...args), run.fail(id, new Error());
run.resume();
expectType<any>()(run.result);
expectType<Outcome>()(run.outcome);
expectType<string | undefined>()(run.name);
expectType<Promise<void>>()(run.resumeAsync());
expectType<Promise<Run>>()(lua.startAsync('', { signal: AbortSignal.timeout(5), durable: 'x' }));
expectType<Promise<Run>>()(lua.startCallAsync('f'));
expectType<Run>()(lua.startCall('f'));
expectType<Run | undefined>()(lua.waitingRun());
expectType<Run>()(lua.resume('order-17'));
expectType<PendingRun[]>()(lua.pendingRuns());
expectType<boolean>()(lua.dropPendingRun('order-17'));
const f: LuaFunction = lua.compute('return print');
f(1, 'x');

const host: HostFunction = (a: number, b: string) => multiple(a, b);
expectType<Sandbox>()(lua.register('f', host).register('g', async (x: number) => x + 1).register('h', () => {}));
expectType<boolean>()(lua.unregister('f'));

expectType<StoredTable>()(lua.home);
lua.home.set('a', { b: [1] }).set(1, true);
for (const [key, value] of lua.home) expectType<LuaValue>()(key), expectType<any>()(value);
expectType<number>()(lua.home.size);
lua.input = { items: [1, 2] };
expectType<any>()(lua.output);

expectType<Snapshot>()(lua.snapshot());
lua.restore(Snapshot.fromBytes(lua.snapshot().toBytes()));
expectType<Sandbox>()(lua.fork());
expectType<MemoryStats>()(lua.memoryStats());
expectType<number | undefined>()(lua.tableCount);

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
const orders: Order[] = [order];
lua.compute('return ...', order, orders, { order }, new Map([[order.id, order]]));
lua.call('f', order);
lua.computeWith('', { args: [order] });
f(order);
lua.home.set('order', order);
lua.input = order;
lua.register('order', () => order).register('async', async () => order);
lua.register('one', async () => multiple(1, order)).register('nothing', async () => {});
lua.call('each', [(x: number) => 2 * x, async (s: string) => s], { done: (...all: string[]) => all.length });
lua.register('handler', () => (x: number) => x).home.get('x');
LuaCellError.raise(order);

try {
  lua.compute('error()');
} catch (error) {
  if (error instanceof LuaCellError) {
    expectType<ErrorKind>()(error.kind);
    expectType<number | undefined>()(error.line);
    expectType<string | undefined>()(error.chunkName);
    expectType<string | undefined>()(error.traceback);
    expectType<unknown>()(error.cause);
    if (error.kind === 'Timeout') lua.reset();
    // @ts-expect-error: there is no such kind
    if (error.kind === 'timeout') lua.reset();
  }
}
throw LuaCellError.raise({ code: 7 });

export function wrong(): void {
  // @ts-expect-error: a number is no source
  lua.compute(5);
  // @ts-expect-error: only runs that are started can be durable
  lua.computeWith('', { durable: 'x' });
  // @ts-expect-error: a symbol is no value
  lua.compute('', Symbol('x'));
  // @ts-expect-error: limits are numbers or text
  new Sandbox({ timeout: {} });
  // @ts-expect-error: no such option
  new Sandbox({ memory: 5 });
  // @ts-expect-error: five methods
  new Sandbox({ store: { get() {} } });
  // @ts-expect-error: a date is no value
  lua.home.set('x', new Date());
  // @ts-expect-error: a promise is no value
  lua.compute('', Promise.resolve(1));
  // @ts-expect-error: nor in an array
  lua.compute('', [new Date()]);
  // @ts-expect-error: nor in an object that is written here
  lua.compute('', { a: Symbol.iterator });
  // @ts-expect-error: a set is no value
  lua.compute('', new Set([1]));
  // @ts-expect-error: a symbol is no value
  lua.home.set('x', Symbol.iterator);
  // @ts-expect-error: a function takes part
  lua.register('x', 5);
  // @ts-expect-error: made by snapshot() only
  lua.restore({});
}
