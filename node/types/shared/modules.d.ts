/** A module's source, with the name for messages in Lua's form (`@lib/util.lua`, `=util`); default `=` and the module's name. */
export interface Module {
    source: string | Uint8Array;
    chunkName?: string;
}
type Source = string | Uint8Array | Module;
/** Sources by name, or a function that is given the name and returns the module, or nothing when there is none. */
export type Modules = Readonly<Record<string, Source>> | ReadonlyMap<string, Source> | ((name: string) => Source | null | undefined);
/** The answer to a request for this module. */
export declare function answerModule(modules: Modules, name: string | null, failed: (name: string, thrown: unknown) => void): Uint8Array;
export {};
