// Where `require` finds modules.

import { Writer, checkText, utf8 } from './bytes.js';
import { shownOfModules } from './errors.js';
import { atOnce } from './promises.js';
import { Search } from './protocol.js';

/** A module's source, with the name for messages in Lua's form (`@lib/util.lua`, `=util`); default `=` and the module's name. */
export interface Module {
  source: string | Uint8Array;
  chunkName?: string;
}

type Source = string | Uint8Array | Module;

/** Sources by name, or a function that is given the name and returns the module, or nothing when there is none. */
export type Modules = Readonly<Record<string, Source>> | ReadonlyMap<string, Source> | ((name: string) => Source | null | undefined);

function resolve(modules: Modules, name: string): [found: Source | null | undefined, where: string] {
  if (typeof modules === 'function') return [modules(name), `the host has no module '${name}'`];
  const where = `no module '${name}' in the host's list`;
  if (modules instanceof Map) return [modules.get(name), where];
  return [Object.hasOwn(modules, name) ? (modules as Record<string, Source>)[name] : null, where];
}

/** The answer to a request for this module. */
export function answerModule(modules: Modules, name: string | null, failed: (name: string, thrown: unknown) => void): Uint8Array {
  const out = new Writer();
  try {
    const [given, where] = name === null ? [null, 'the name is not valid UTF-8'] : resolve(modules, name);
    const found = atOnce(given, 'the function for modules');
    if (found === null || found === undefined) {
      out.u32(Search.Missing);
      out.raw(utf8(`\n\t${where}`));
      return out.written;
    }
    const module = typeof found === 'string' || found instanceof Uint8Array ? { source: found } : found;
    out.u32(Search.Found);
    const chunk = utf8(checkText(module.chunkName ?? `=${name}`));
    out.u32(chunk.length);
    out.raw(chunk);
    out.raw(typeof module.source === 'string' ? utf8(checkText(module.source)) : module.source);
  } catch (error) {
    failed(name ?? '', error);
    out.length = 0;
    out.u32(Search.Failed);
    out.raw(utf8(shownOfModules(error)));
  }
  return out.written;
}
