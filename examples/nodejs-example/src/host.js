// The five functions that lua.wasm imports. Every number that arrives here was chosen by the guest and is not to be
// trusted: a pointer or length that does not fit gives -1, nothing is thrown, nothing outside is touched.

const failure = -1;
const largestAnswer = 0x7fffffff;

// Strict: what is not UTF-8 is no key. A byte order mark is part of the key.
const keyDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The import object. `memory()` gives the guest's memory as it is at the moment of a call: a memory that has grown
 * leaves older views detached. `revision` is what the host announced. `requests` hears what is asked from revision 3 on.
 */
export function hostFunctions(tables, memory, revision, requests) {
  /** A view of guest memory, or null. */
  const view = (ptr, len) => {
    ptr >>>= 0; // wasm's i32 arrives as a signed number
    len >>>= 0;
    const bytes = memory();
    return ptr + len <= bytes.length ? bytes.subarray(ptr, ptr + len) : null;
  };

  const readKey = (ptr, len) => {
    const bytes = view(ptr, len);
    try {
      return bytes && keyDecoder.decode(bytes);
    } catch {
      return null;
    }
  };

  /** Copies an answer into the guest's buffer. Revision 2 tells how much room it takes. */
  const answer = (bytes, ptr, max) => {
    const room = view(ptr, max);
    if (!room || bytes.length > largestAnswer) return failure;
    if (bytes.length > room.length) return revision >= 2 ? -(bytes.length + 1) : failure;
    room.set(bytes);
    return bytes.length;
  };

  /** The host channel. */
  const channel = (ptr, len, answerPtr, max) => {
    const bytes = revision >= 3 ? view(ptr, len) : null;
    try {
      const said = bytes && requests.handle(Buffer.from(bytes));
      return said ? answer(said, answerPtr, max) : failure;
    } catch {
      return failure; // a request that is cut off, or with values that are none
    }
  };

  return {
    env: {
      js_ext_table_set(id, keyPtr, keyLen, valuePtr, valueLen) {
        const key = readKey(keyPtr, keyLen);
        const value = view(valuePtr, valueLen);
        if (id === 0 || key === null || value === null) return failure;
        tables.set(id >>> 0, key, Buffer.from(value)); // a copy: the guest goes on using its memory
        return 0;
      },

      js_ext_table_get(id, keyPtr, keyLen, valuePtr, maxLen) {
        if (id === 0) return channel(keyPtr, keyLen, valuePtr, maxLen);
        const key = readKey(keyPtr, keyLen);
        const value = key === null ? undefined : tables.get(id >>> 0, key);
        return value ? answer(value, valuePtr, maxLen) : failure;
      },

      js_ext_table_delete(id, keyPtr, keyLen) {
        const key = readKey(keyPtr, keyLen);
        return key !== null && tables.delete(id >>> 0, key) ? 0 : failure;
      },

      js_ext_table_size(id) {
        return tables.size(id >>> 0);
      },

      js_ext_table_keys(id, bufferPtr, maxLen) {
        const keys = tables.keys(id >>> 0);
        return keys ? answer(Buffer.from(keys.join("\n")), bufferPtr, maxLen) : failure;
      },
    },
  };
}
