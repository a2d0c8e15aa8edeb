// The values that travel between guest and host, as docs/MEMORY_PROTOCOL.md describes them.
//
//   nil      null             external table             ExternalTable
//   boolean  true, false      inline table               LuaTable (the same object when it is the same table)
//   integer  BigInt           function, built-in, handle LuaFunction
//   float    number           string                     Buffer (Lua strings are bytes; text is one use of them)

/** The guest sent something that its contract does not allow. */
export class ProtocolError extends Error {
  name = "ProtocolError";
}

/** A table that lives in the host's table map. */
export class ExternalTable {
  constructor(id) {
    this.id = id;
  }
}

/** A table that came by value: `[key, value]` pairs. */
export class LuaTable {
  constructor(entries = []) {
    this.entries = entries;
  }
}

/** A function; `kind` says what `detail` is: "bytecode" or "builtin" (Buffer), "handle" or "stored" (number). */
export class LuaFunction {
  constructor(kind, detail) {
    this.kind = kind;
    this.detail = detail;
  }
}

/** Where a stored function keeps a variable; it stands in stored tables only. */
export class StoredUpvalue {
  constructor(id) {
    this.id = id;
  }
}

/** Takes encoded values apart. Without recursion: a guest may nest tables deeper than our stack is. */
export function decode(bytes) {
  let at = 0;
  const take = (length) => {
    if (length > bytes.length - at) throw new ProtocolError(`a value is cut off at byte ${bytes.length}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  const u32 = () => take(4).readUInt32LE(0);
  const text = () => Buffer.from(take(u32()));

  const values = [];
  const tables = []; // all inline tables of this message, in the order in which they began
  const open = []; // those that are not complete: {table, array, pairs, index, key}
  for (;;) {
    while (open.length > 0 && open.at(-1).array === 0 && open.at(-1).pairs === 0) open.pop();
    if (open.length === 0 && at === bytes.length) return values;

    let value;
    let begun = null;
    const tag = take(1)[0];
    switch (tag) {
      case 0x00:
        value = null;
        break;
      case 0x01:
        value = take(1)[0] !== 0;
        break;
      case 0x02:
        value = take(8).readBigInt64LE(0);
        break;
      case 0x03:
        value = take(8).readDoubleLE(0);
        break;
      case 0x04:
        value = text();
        break;
      case 0x05:
        value = new LuaFunction("bytecode", text());
        break;
      case 0x06:
        value = new LuaFunction("builtin", text());
        break;
      case 0x07:
        value = new ExternalTable(u32());
        break;
      case 0x08:
        value = new LuaTable();
        begun = { table: value, array: u32(), pairs: u32(), index: 0n, key: null };
        tables.push(value);
        break;
      case 0x09: {
        const number = u32();
        if (number >= tables.length) throw new ProtocolError(`table ${number} of the message did not begin yet`);
        value = tables[number];
        break;
      }
      case 0x0a:
        value = new LuaFunction("handle", u32());
        break;
      case 0x0b:
        value = new LuaFunction("stored", u32());
        break;
      case 0x0c:
        value = new StoredUpvalue(u32());
        break;
      default:
        throw new ProtocolError(`unknown tag ${tag}`);
    }

    const parent = open.at(-1);
    if (!parent) {
      values.push(value);
    } else if (parent.array > 0) {
      parent.array -= 1;
      parent.index += 1n;
      if (value !== null) parent.table.entries.push([parent.index, value]);
    } else if (parent.key === null) {
      if (value === null || Number.isNaN(value)) throw new ProtocolError("a table key is nil or NaN");
      parent.key = value;
    } else {
      parent.pairs -= 1;
      parent.table.entries.push([parent.key, value]);
      parent.key = null;
    }
    if (begun) open.push(begun);
  }
}

/** Encodes values one after another. A JavaScript string becomes a Lua string of its UTF-8 bytes. */
export function encode(values) {
  const parts = [];
  const tables = new Map(); // LuaTable -> its number in this message
  const todo = [...values].reverse();
  const u32 = (tag, ...numbers) => {
    const part = Buffer.alloc(1 + 4 * numbers.length);
    part[0] = tag;
    numbers.forEach((number, i) => part.writeUInt32LE(number, 1 + 4 * i));
    parts.push(part);
  };
  const text = (tag, bytes) => {
    u32(tag, bytes.length);
    parts.push(bytes);
  };
  while (todo.length > 0) {
    const value = todo.pop();
    if (value === null || value === undefined) {
      parts.push(Buffer.of(0x00));
    } else if (typeof value === "boolean") {
      parts.push(Buffer.of(0x01, Number(value)));
    } else if (typeof value === "bigint") {
      const part = Buffer.of(0x02, 0, 0, 0, 0, 0, 0, 0, 0);
      part.writeBigInt64LE(value, 1);
      parts.push(part);
    } else if (typeof value === "number") {
      const part = Buffer.of(0x03, 0, 0, 0, 0, 0, 0, 0, 0);
      part.writeDoubleLE(value, 1);
      parts.push(part);
    } else if (typeof value === "string") {
      text(0x04, Buffer.from(value));
    } else if (value instanceof Uint8Array) {
      text(0x04, value);
    } else if (value instanceof ExternalTable) {
      u32(0x07, value.id);
    } else if (value instanceof LuaFunction && value.kind !== "stored") {
      if (value.kind === "handle") u32(0x0a, value.detail);
      else text(value.kind === "bytecode" ? 0x05 : 0x06, value.detail);
    } else if (value instanceof LuaTable) {
      if (tables.has(value)) {
        u32(0x09, tables.get(value));
      } else {
        tables.set(value, tables.size);
        u32(0x08, 0, value.entries.length);
        for (let i = value.entries.length - 1; i >= 0; i--) todo.push(value.entries[i][1], value.entries[i][0]);
      }
    } else {
      throw new TypeError(`${value} has no encoded form`);
    }
  }
  return Buffer.concat(parts);
}

const integerKey = /^(0|-?[1-9][0-9]*)$/;
const floatKey = /^\\f(-?inf|-?[0-9][0-9.]*(?:e[-+][0-9]+)?)$/;
const stringKey = /^\\s(?:[^\\]|\\[\\n]|\\x[0-9a-f]{2})*$/s;

/** The Lua key behind the text of a stored table's key. */
export function decodeKey(text) {
  if (integerKey.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text)) return BigInt(text);
  if (text === "\\btrue" || text === "\\bfalse") return text === "\\btrue";
  const float = floatKey.exec(text)?.[1];
  if (float !== undefined) return Number(float.replace("inf", "Infinity"));
  if (!stringKey.test(text)) return Buffer.from(text);
  const escaped = Buffer.from(text.slice(2)).toString("latin1"); // a character for each byte
  const plain = escaped.replace(/\\(?:(n)|x(..)|\\)/g, (_, newline, hex) => {
    if (hex) return String.fromCharCode(parseInt(hex, 16));
    return newline ? "\n" : "\\";
  });
  return Buffer.from(plain, "latin1");
}

/** A value for people to read. */
export function show(value, shown = new Set(), depth = 0) {
  if (value === null) return "nil";
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value === "number") return Number.isInteger(value) ? value.toFixed(1) : String(value);
  if (Buffer.isBuffer(value)) return quote(value);
  if (value instanceof ExternalTable) return `external table ${value.id}`;
  if (value instanceof LuaFunction) return value.kind === "builtin" ? `built-in ${value.detail}` : `function (${value.kind})`;
  if (value instanceof StoredUpvalue) return `upvalue in table ${value.id}`;
  if (shown.has(value)) return "{the same table}";
  if (depth === 8) return "{...}";
  shown.add(value);
  const entries = value.entries.map(([k, v]) => `[${show(k, shown, depth + 1)}] = ${show(v, shown, depth + 1)}`);
  return `{${entries.join(", ")}}`;
}

function quote(bytes) {
  let text = '"';
  for (const byte of bytes) {
    if (byte === 0x22 || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return `${text}"`;
}
