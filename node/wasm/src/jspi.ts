// Waiting inside of a run, where the engine can put a wasm stack aside (JavaScript Promise Integration).
//
// Most calls of `js_ext_table_get` are answered at once, and must not pay for it. So a few instructions of wasm stand
// between guest and host: they call the host's function, and only when it answers `WAIT` the one that suspends.

/** "The answer comes later." No length is that large. */
export const WAIT = -0x7fffffff;

type Suspending = new (f: () => Promise<number>) => unknown;
type Promising = (f: unknown) => (...args: number[]) => Promise<number>;

const wasm = WebAssembly as unknown as { Suspending?: Suspending; promising?: Promising };

/** Whether this engine can do it. */
export const canSuspend = (): boolean => typeof wasm.Suspending === 'function' && typeof wasm.promising === 'function';

export const promising: Promising = (f) => wasm.promising!(f);

// (module
//   (import "h" "g" (func $get (param i32 i32 i32 i32 i32) (result i32)))
//   (import "h" "w" (func $wait (result i32)))
//   (func (export "f") (param i32 i32 i32 i32 i32) (result i32) (local $n i32)
//     (local.tee $n (call $get (local.get 0) ... (local.get 4)))
//     (if (result i32) (i32.eq (i32.const WAIT)) (then (call $wait)) (else (local.get $n)))))
// prettier-ignore
const bridge = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
  1, 14, 2, 0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f, 0x60, 0, 1, 0x7f,
  2, 13, 2, 1, 0x68, 1, 0x67, 0, 0, 1, 0x68, 1, 0x77, 0, 1,
  3, 2, 1, 0,
  7, 5, 1, 1, 0x66, 0, 2,
  10, 35, 1, 33, 1, 1, 0x7f,
  0x20, 0, 0x20, 1, 0x20, 2, 0x20, 3, 0x20, 4, 0x10, 0, 0x22, 5,
  0x41, 0x81, 0x80, 0x80, 0x80, 0x78, 0x46,
  0x04, 0x7f, 0x10, 1, 0x05, 0x20, 5, 0x0b, 0x0b,
]);

let compiled: WebAssembly.Module | undefined;

/** `get`, that waits for `wait` when it answers `WAIT`. */
export function waitingGet(get: (...args: number[]) => number, wait: () => Promise<number>): WebAssembly.ExportValue {
  compiled ??= new WebAssembly.Module(bridge);
  const suspending = new wasm.Suspending!(wait) as WebAssembly.ImportValue;
  return new WebAssembly.Instance(compiled, { h: { g: get, w: suspending } }).exports['f']!;
}
