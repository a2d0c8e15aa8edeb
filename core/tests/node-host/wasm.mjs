// As much of the wasm binary format as it takes to see a module's imports and exports with their types.

const types = new Map([[0x7f, "i32"], [0x7e, "i64"], [0x7d, "f32"], [0x7c, "f64"]]);

/** `{imports, exports, sections}`; functions as `(i32 i32) -> i32`, memories as `memory 32` or `memory 32..64`. */
export function describe(module) {
  let at = 8;
  const byte = () => module[at++];
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const b = byte();
      value += (b & 0x7f) * 2 ** shift;
      if (b < 0x80) return value;
    }
  };
  const name = () => {
    const length = number();
    return module.subarray((at += length) - length, at).toString("utf8");
  };
  const list = (item) => Array.from({ length: number() }, item);
  const limits = () => (byte() & 1 ? `${number()}..${number()}` : `${number()}`);
  const signatures = [];
  const functions = [];
  const memories = [];
  const imports = [];
  const exports = new Map();
  const sections = [];
  while (at < module.length) {
    const id = byte();
    const end = number() + at;
    sections.push(id);
    if (id === 1)
      list(() => {
        byte(); // 0x60: function
        const from = list(() => types.get(byte()));
        const to = list(() => types.get(byte()));
        signatures.push(`(${from.join(" ")}) -> ${to.length ? to.join(" ") : "()"}`);
      });
    else if (id === 2)
      list(() => {
        const entry = { module: name(), name: name(), kind: byte() };
        if (entry.kind !== 0) throw new Error(`import of kind ${entry.kind}: ${entry.module}.${entry.name}`);
        entry.type = signatures[number()];
        functions.push(entry.type);
        imports.push(entry);
      });
    else if (id === 3) list(() => functions.push(signatures[number()]));
    else if (id === 5) list(() => memories.push(`memory ${limits()}`));
    else if (id === 7)
      list(() => {
        const entry = name();
        const kind = byte();
        const index = number();
        exports.set(entry, kind === 0 ? functions[index] : kind === 2 ? memories[index] : `kind ${kind}`);
      });
    at = end;
  }
  return { imports, exports, sections };
}
