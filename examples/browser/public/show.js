// Lua values as text, and as a tree for the page. Numbers are exact here: BigInt for integers, number for floats.

const MOST_ENTRIES = 200;
const MOST_NODES = 4000;
const MOST_TEXT = 2000;

const quoted = (text) => JSON.stringify(text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}…` : text);
const isName = (key) => typeof key === "string" && /^[A-Za-z_]\w*$/.test(key);

function float(x) {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x > 0 ? "math.huge" : "-math.huge";
  return Number.isInteger(x) && Math.abs(x) < 1e16 ? (Object.is(x, -0) ? "-0.0" : x.toFixed(1)) : String(x);
}

/** Kind and text of what is no table. */
function leaf(value) {
  switch (typeof value) {
    case "bigint":
      return ["number", String(value)];
    case "number":
      return ["number", float(value)];
    case "string":
      return ["string", quoted(value)];
    case "boolean":
      return ["boolean", String(value)];
    case "function":
      return ["other", "function"];
  }
  if (value === null || value === undefined) return ["nil", "nil"];
  const bytes = [...value.subarray(0, 40)].map((byte) => (byte >= 32 && byte < 127 && byte !== 92 ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`));
  return ["string", `"${bytes.join("")}${value.length > 40 ? "…" : ""}"`];
}

const isTable = (value) => typeof value === "object" && value !== null && !(value instanceof Uint8Array);

const entriesOf = (table) => (Array.isArray(table) ? table.map((value, i) => [BigInt(i + 1), value]) : table instanceof Map ? [...table] : typeof table.entries === "function" && table.entries !== Object.prototype.entries && "owner" in table ? [...table] : Object.entries(table));

const keyText = (key) => (isName(key) ? key : isTable(key) ? "[table]" : `[${leaf(key)[1]}]`);

/** A value in Lua's notation, cut where it gets long. */
export function show(value, seen = new Set()) {
  if (!isTable(value)) return leaf(value)[1];
  if (seen.has(value) || seen.size > 8) return "{…}";
  seen.add(value);
  const entries = entriesOf(value);
  const isList = Array.isArray(value);
  const parts = entries.slice(0, 50).map(([key, item]) => (isList ? show(item, seen) : `${keyText(key)} = ${show(item, seen)}`));
  if (entries.length > 50) parts.push(`… ${entries.length - 50} more`);
  seen.delete(value);
  return `{${parts.join(", ")}}`;
}

/** A stored table as plain data: `{key, isText, kind, text}` or `{key, isText, count, entries, more}`. */
export function tree(table) {
  let nodes = 0;
  const within = new Set();
  const list = (table) => {
    within.add(table.id);
    const all = [...table.entries()].sort(([a], [b]) => order(a, b));
    const entries = [];
    for (const [key, value] of all.slice(0, MOST_ENTRIES)) {
      if (++nodes > MOST_NODES) break;
      const node = { key: typeof key === "bigint" || isName(key) ? String(key) : leaf(key)[1], isText: typeof key === "string" };
      if (!isTable(value)) [node.kind, node.text] = leaf(value);
      else if (within.has(value.id)) [node.kind, node.text] = ["other", "a table around this one"];
      else Object.assign(node, list(value));
      entries.push(node);
    }
    within.delete(table.id);
    return { count: all.length, entries, more: all.length - entries.length };
  };
  return list(table);
}

/** Numbers first, by size; text after them, by letters. */
function order(a, b) {
  const isNumber = (key) => typeof key === "bigint" || typeof key === "number";
  if (isNumber(a) && isNumber(b)) return a < b ? -1 : a > b ? 1 : 0;
  if (isNumber(a) !== isNumber(b)) return isNumber(a) ? -1 : 1;
  return String(a) < String(b) ? -1 : 1;
}
