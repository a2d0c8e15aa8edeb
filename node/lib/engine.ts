import { LuaCellError } from '../shared/errors.js';
import { type LimitOptions, bytesOf } from '../shared/limits.js';
import { checkCount, checkOptions } from '../shared/options.js';
import { NativeEngine } from './native.js';

/** Settings of an engine. */
export interface EngineOptions {
  /** How many sandboxes at a time come from a pool of prepared memory. Default 1000; 0 for no pool. */
  poolSize?: number;
  /** The most memory that a sandbox may take, everything included. Default 1 GiB, from 2 MiB to 4 GiB. */
  maxMemory?: LimitOptions['memoryLimit'];
  /** The most native stack that a sandbox uses. Default 512 KiB, from 64 KiB to 1.5 MiB. */
  maxStack?: LimitOptions['memoryLimit'];
}

const names = ['poolSize', 'maxMemory', 'maxStack'] as const;

const bytes = (options: EngineOptions, name: 'maxMemory' | 'maxStack'): number | undefined => {
  const size = options[name];
  return size === undefined ? undefined : bytesOf(name, size);
};

/** The compiled Lua and its pool of instances, shared by any number of sandboxes. Most programs don't need one of their own. */
export class Engine {
  /** @internal */
  readonly native: NativeEngine;

  constructor(options: EngineOptions = {}) {
    checkOptions(options, names);
    const { poolSize } = options;
    checkCount('poolSize', poolSize, 32);
    try {
      this.native = new NativeEngine({ poolSize, maxMemory: bytes(options, 'maxMemory'), maxStack: bytes(options, 'maxStack') });
    } catch (error) {
      if (error instanceof LuaCellError) throw error;
      throw new LuaCellError('InvalidArgument', (error as Error).message, { cause: error });
    }
  }

  /** Whether sandboxes come from a pool: not if the system refuses so much address space. */
  get isPooled(): boolean {
    return this.native.isPooled;
  }
}
