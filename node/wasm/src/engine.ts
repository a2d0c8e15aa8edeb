import { LuaCellError, invalid, messageOf } from '../../shared/errors.js';

/** Where `lua.wasm` is: a URL, a response to a request for it, its bytes, or the compiled module. */
export type WasmSource = string | URL | Response | PromiseLike<Response> | BufferSource | WebAssembly.Module;

let place: string | undefined;
let loaded: Engine | undefined;
let loading: Promise<Engine> | undefined;

/** Tells where `lua.wasm` lies beside this code. */
export function setDefaultPlace(url: string): void {
  place ??= url;
}

async function readFile(url: URL): Promise<Uint8Array> {
  // Hidden from bundlers, which would look for it when building for browsers.
  const name = 'node:fs/promises';
  const fs = (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as { readFile(url: URL): Promise<Uint8Array> };
  return fs.readFile(url);
}

async function compile(source: WasmSource): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return WebAssembly.compile(source as BufferSource);
  if (typeof source === 'string' || source instanceof URL) {
    const url = new URL(source, globalThis.location?.href);
    if (url.protocol === 'file:' && typeof process === 'object') return WebAssembly.compile((await readFile(url)) as BufferSource);
    return compile(fetch(url));
  }
  const response = await source;
  if (!response.ok) throw new Error(`the answer to the request for ${response.url} is ${response.status} ${response.statusText}`);
  // Servers that do not know the type of .wasm can't be streamed from.
  const type = response.headers.get('content-type') ?? '';
  if (type.startsWith('application/wasm')) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** The compiled `lua.wasm`, shared by many sandboxes. It can be passed to workers: `new Engine(module)` with `engine.module`. */
export class Engine {
  /** Takes a compiled module. */
  constructor(readonly module: WebAssembly.Module) {
    if (!(module instanceof WebAssembly.Module)) throw invalid('make an engine from a WebAssembly.Module, or with await Engine.load()');
  }

  /**
   * Fetches and compiles `lua.wasm`. Without a source, it is the file next to this code; that engine is kept, and is the one of
   * sandboxes that are made without any.
   */
  static async load(source?: WasmSource): Promise<Engine> {
    if (source === undefined) {
      if (place === undefined) throw invalid("lua.wasm can't be found: pass its URL or bytes to Engine.load");
      const url = place;
      loading ??= Engine.load(url).then((engine) => (loaded = engine));
      return loading.catch((error: unknown) => {
        // The next one tries again.
        loading = undefined;
        throw error;
      });
    }
    try {
      return new Engine(await compile(source));
    } catch (error) {
      throw new LuaCellError('InvalidArgument', `lua.wasm can't be loaded: ${messageOf(error)}`, { cause: error });
    }
  }

  #fingerprint: number | undefined;

  /** @internal A number that tells one `lua.wasm` from others: a hash (FNV-1a) of the memory that it starts with. */
  get fingerprint(): number {
    if (this.#fingerprint === undefined) {
      const imports = Object.fromEntries(WebAssembly.Module.imports(this.module).map(({ name }) => [name, () => -1]));
      const { exports } = new WebAssembly.Instance(this.module, { env: imports });
      (exports['init'] as () => number)();
      let hash = 0x811c9dc5;
      for (const word of new Int32Array((exports['memory'] as WebAssembly.Memory).buffer)) hash = Math.imul(hash ^ word, 0x01000193);
      this.#fingerprint = hash >>> 0;
    }
    return this.#fingerprint;
  }

  /** @internal The engine of sandboxes that are made without any. */
  static get default(): Engine {
    if (!loaded) throw invalid('no engine is loaded: await Engine.load() first, or use await Sandbox.create()');
    return loaded;
  }
}
