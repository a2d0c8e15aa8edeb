// What can be run: each entry writes what the guest needs to its I/O buffer, and names the export that reads it there.

import type { Writer } from '../../shared/bytes.js';
import { encodeArgs } from '../../shared/codec.js';
import { LuaCellError, invalid } from '../../shared/errors.js';
import type { Entry, Guest } from './guest.js';
import type { Limits } from '../../shared/limits.js';
import type { SandboxLinks } from './links.js';
import type { FunctionKind, LuaFunction } from '../../shared/values.js';

export type Enter = (guest: Guest, links: SandboxLinks, args: Writer) => Entry;

/** Calls a built-in, whatever the script has made of the global of its name. */
const CALL = new TextEncoder().encode('return (function(f, ...) return f(...) end)(...)');
const CALL_NAME = new TextEncoder().encode('=(host)');

function checkSource(length: number, limits: Limits): void {
  if (length > limits.source)
    throw new LuaCellError('InvalidArgument', `the source has ${length} bytes, more than the ${limits.source} of sourceLimit`);
}

/** Source alone. */
export function computeEntry(source: string | Uint8Array, limits: Limits): Enter {
  return (guest) => {
    let n = typeof source === 'string' ? guest.writeText(source) : -1;
    if (n < 0) {
      const bytes = typeof source === 'string' ? new TextEncoder().encode(source) : source;
      n = bytes.length;
      checkSource(n, limits);
      guest.write(bytes);
    } else {
      checkSource(n, limits);
    }
    return ['compute', guest.bufferPtr, n];
  };
}

/** Source with a name and arguments. */
export function namedEntry(source: string | Uint8Array, name: string, values: readonly unknown[], limits: Limits): Enter {
  return (guest, links, args) => {
    const bytes = typeof source === 'string' ? new TextEncoder().encode(source) : source;
    checkSource(bytes.length, limits);
    const nameBytes = new TextEncoder().encode(name);
    encodeArgs(values, args, links);
    guest.write(nameBytes, bytes, args.written);
    return ['compute_named', nameBytes.length, bytes.length, args.length];
  };
}

/** A global function. */
export function callEntry(path: string, values: readonly unknown[]): Enter {
  return (guest, links, args) => {
    encodeArgs(values, args, links);
    const pathBytes = new TextEncoder().encode(path);
    guest.write(pathBytes, args.written);
    return ['call', pathBytes.length, args.length];
  };
}

/** A function that a running sandbox has given. */
export function functionEntry(f: LuaFunction, kind: FunctionKind, values: readonly unknown[]): Enter {
  if (kind.type !== 'live' && kind.type !== 'builtin')
    throw invalid('only a function that a running sandbox returned can be called from the host');
  return (guest, links, args) => {
    if (kind.type === 'live') {
      encodeArgs(values, args, links);
      guest.write(args.written);
      return ['call_handle', links.handleOf(kind), args.length];
    }
    encodeArgs([f, ...values], args, links);
    guest.write(CALL_NAME, CALL, args.written);
    return ['compute_named', CALL_NAME.length, CALL.length, args.length];
  };
}
