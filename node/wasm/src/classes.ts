// Classes of the host's objects, as the guest asks for them.

import { Writer } from '../../shared/bytes.js';
import type { HostValues } from '../../shared/host-values.js';
import { Kind } from '../../shared/objects.js';
import { Tag } from '../../shared/protocol.js';

/** The description of the class that the object with this number has. Empty when there is no room for its functions. */
export function describe(values: HostValues, object: number): Uint8Array | null {
  const wrapped = values.get(object);
  if (typeof wrapped !== 'object') return null;
  const { name, members } = wrapped.class;
  const out = new Writer();
  const putText = (text: string): void => {
    out.u8(Tag.String);
    out.text(text);
  };
  const given: number[] = [];
  try {
    putText(name);
    for (const kind of Object.values(Kind)) {
      const all = members.filter((member) => member.kind === kind);
      out.u8(Tag.Table);
      out.u32(0);
      out.u32(all.length);
      for (const { name, f } of all) {
        putText(name);
        out.u8(Tag.HostFunction);
        const number = values.give(f);
        given.push(number);
        out.u32(number);
      }
    }
  } catch {
    for (const number of given) values.release(number, 1);
    out.length = 0;
  }
  return out.written;
}
