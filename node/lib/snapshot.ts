import { type ErrorKind, LuaCellError, invalid, messageOf } from '../shared/errors.js';
import type { Callables } from './callables.js';
import type { Engine } from './engine.js';
import { NativeSnapshot } from './native.js';

/** A copy of a whole sandbox: globals, closures, suspended coroutines and tables. Any number of sandboxes can be restored from it. */
export class Snapshot {
  /** @internal */
  readonly native: NativeSnapshot;
  /** @internal Those of JavaScript that Lua held. */
  readonly functions: Callables | null;

  /** @internal */
  constructor(native: NativeSnapshot, functions: Callables | null) {
    this.native = native;
    this.functions = functions;
  }

  /**
   * The snapshot as bytes, packed and with a checksum, for the same version of luacell on any platform. Throws `Conversion` if Lua held functions of JavaScript that
   * have no name.
   */
  toBytes(): Uint8Array {
    let bytes: ReturnType<NativeSnapshot['toBytes']>;
    try {
      bytes = this.native.toBytes();
    } catch (error) {
      // Node.js has no buffer that large.
      throw new LuaCellError('Memory', `the snapshot can't be turned into bytes: ${messageOf(error)}`, { cause: error });
    }
    if (bytes instanceof Uint8Array) return bytes;
    throw new LuaCellError(bytes.kind as ErrorKind, bytes.message);
  }

  /**
   * What `toBytes` gave, in this or another process. Throws `InvalidArgument` for anything else. Take bytes only from who may run any script:
   * they can be made to run past every limit.
   */
  static fromBytes(bytes: Uint8Array, engine?: Engine): Snapshot {
    if (!(bytes instanceof Uint8Array)) throw invalid('fromBytes takes a Uint8Array');
    const native = NativeSnapshot.fromBytes(engine?.native, bytes);
    if (native instanceof NativeSnapshot) return new Snapshot(native, null);
    throw new LuaCellError(native.kind as 'InvalidArgument', native.message);
  }
}
