// Assertions that work in Node.js and in browsers, and a script for tests of limits.

export const forever = "while true do end";

export function equal(got, want, what = "") {
  if (!Object.is(got, want)) throw new Error(`${what || "value"}: ${text(got)}, expected ${text(want)}`);
}

export const ok = (condition, what = "condition") => {
  if (!condition) throw new Error(`${what} does not hold`);
};

const text = (value) => {
  if (value instanceof Map) return `Map ${text([...value])}`;
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  if (typeof value !== "object" || value === null) return typeof value === "string" ? JSON.stringify(value) : String(value);
  if (value instanceof Uint8Array) return `bytes ${[...value]}`;
  if (value instanceof Error) return String(value);
  if (Array.isArray(value)) return `[${value.map(text).join(", ")}]`;
  return `{${Object.entries(value).map(([k, v]) => `${k}: ${text(v)}`).join(", ")}}`;
};

/** Same kind and same content, without cycles. */
export const same = (got, want, what) => equal(text(got), text(want), what);

/** The error that this throws, which has to be of that kind. */
export function fails(kind, run) {
  let result;
  try {
    result = run();
  } catch (error) {
    equal(error.kind, kind, `kind of "${error.message}"`);
    return error;
  }
  throw new Error(`no error, but ${text(result)}`);
}

export async function rejects(kind, promise) {
  let result;
  try {
    result = await promise;
  } catch (error) {
    equal(error.kind, kind, `kind of "${error.message}"`);
    return error;
  }
  throw new Error(`no error, but ${text(result)}`);
}
