// What the guest answers when a run has ended.

import { type Links, decode } from '../../shared/codec.js';
import { LuaCellError, broken, kindOf, lossyText } from '../../shared/errors.js';
import type { Guest } from './guest.js';
import type { Host } from './host.js';
import type { LuaValue } from '../../shared/values.js';

interface Success {
  values: LuaValue[];
  output: Uint8Array;
}

/** What a run gave or why it failed, by the number that the export returned. `host` has what host functions threw. */
export function readResult(guest: Guest, host: Host, n: number, links: Links): Success | LuaCellError {
  return n >= 0 ? success(guest, n, links) : failure(guest, host, n, links);
}

function success(guest: Guest, n: number, links: Links): Success {
  if (n === 0) return { values: [], output: new Uint8Array(0) };
  const bytes = guest.result(n);
  if (n < 4) throw broken('the guest gave a result that is too short');
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (length > n - 4) throw broken('the guest claims more output than it gave');
  return { values: decode(bytes.subarray(4 + length), links), output: bytes.slice(4, 4 + length) };
}

function failure(guest: Guest, host: Host, n: number, links: Links): LuaCellError {
  // The message may have moved the buffer.
  guest.refreshBuffer();
  const message = guest.result(-n - 1).slice();
  const length = guest.call('get_error_details');
  if (length === 0) return new LuaCellError('Runtime', lossyText(message) || 'the guest refused the source and gave no message');
  guest.refreshBuffer();
  const details = decode(guest.result(length), links);
  const text = (value: LuaValue | undefined): string | undefined =>
    typeof value === 'string' ? value : value instanceof Uint8Array ? lossyText(value) : undefined;
  const [kind, shown, chunk, line, traceback, output, value, number] = details;
  const error = new LuaCellError(kindOf(Number(kind)) ?? 'Runtime', text(shown) ?? lossyText(message));
  if (shown instanceof Uint8Array) error.messageBytes = shown;
  host.explain(error, Number(number ?? 0));
  error.chunkName = text(chunk);
  error.line = line === null || line === undefined ? undefined : Number(line);
  error.traceback = text(traceback);
  if (value !== null && value !== undefined) error.value = value;
  error.outputBytes =
    typeof output === 'string' ? new TextEncoder().encode(output) : output instanceof Uint8Array ? output : guest.runMetrics().output.slice();
  return error;
}
