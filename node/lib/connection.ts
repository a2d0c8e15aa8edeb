// The one connection between this JavaScript environment and the native part.

import { LuaCellError } from '../shared/errors.js';
import type { Adapter } from './adapter.js';
import { letGo } from './callables.js';
import { Connection } from './native.js';

/** What a note from the native part is about. */
const Topic = { Done: 0, Call: 1, Print: 2, Store: 3, Module: 4, Dropped: 5 } as const;

const adapters = new Map<number, WeakRef<Adapter>>();
const forgotten = new FinalizationRegistry<number>((number) => adapters.delete(number));
let lastAdapter = 0;

/** Runs that are under way elsewhere. */
const jobs = new Map<number, (result: unknown) => void>();
let lastJob = 0;

/** Keeps the process alive while somebody waits for a job. */
const keepAlive = setInterval(() => {}, 2 ** 30);
keepAlive.unref();

export const newNumber = (): number => ++lastAdapter;

export function addAdapter(adapter: Adapter, number: number): void {
  adapters.set(number, new WeakRef(adapter));
  forgotten.register(adapter, number);
}

export const removeAdapter = (number: number): void => void adapters.delete(number);

/** Something that is to be done on another thread has this number. */
export const newJob = (): number => (lastJob = (lastJob + 1) >>> 0);

/** Begins something on another thread. The promise is of what the native part gives. */
export function runJob(job: number, start: (job: number) => unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    jobs.set(job, resolve);
    keepAlive.ref();
    try {
      const refused = start(job);
      if (refused !== undefined) finish(job, refused);
    } catch (error) {
      reject(error);
      finish(job, undefined);
    }
  });
}

function finish(job: number, result: unknown): void {
  const resolve = jobs.get(job);
  jobs.delete(job);
  if (jobs.size === 0) keepAlive.unref();
  resolve?.(result);
}

function onCall(number: number, _call: number, fn: number, n: number, a: unknown, b: unknown, c: unknown): unknown {
  const adapter = adapters.get(number)?.deref();
  return adapter ? adapter.callHost(fn, n, a, b, c) : undefined;
}

function onNote(topic: number, number: number, id: number, what: number, rest: unknown): unknown {
  if (topic === Topic.Done) return finish(id, rest);
  if (topic === Topic.Dropped) return letGo(connection, true);
  const adapter = adapters.get(number)?.deref();
  if (!adapter) return id === 0 ? undefined : connection.answer(id, undefined, false);
  switch (topic) {
    case Topic.Call:
      return adapter.callHostLater(what, rest as Uint8Array, (answer, linked) => connection.answer(id, answer, linked));
    case Topic.Print:
      return adapter.print(rest as Uint8Array);
    case Topic.Store:
    case Topic.Module: {
      const answer = topic === Topic.Store ? adapter.askStore(what, rest as Uint8Array) : adapter.askModules(rest as string);
      return id === 0 ? answer : connection.answer(id, answer, false);
    }
  }
  throw new LuaCellError('Internal', `the native part sent a note about ${topic}`);
}

export const connection: Connection = new Connection(onCall, onNote);
