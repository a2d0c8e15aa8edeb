import { type Owner, StoredTable } from '../shared/stored.js';
import type { LuaValue } from '../shared/values.js';
import type { Adapter } from './adapter.js';
import { type NativeSandbox } from './native.js';
/** The views of one sandbox from one restore to the next. There is one view of each table, so that equal tables are the same object. */
export declare class Views implements Owner {
    #private;
    readonly adapter: Adapter;
    constructor(adapter: Adapter);
    view(id: number, cell: boolean): StoredTable;
    /** The sandbox was restored: its tables are others now. */
    end(): void;
    /** Refuses tables of another time. */
    checkAlive(): void;
    check(): NativeSandbox;
    getStored(id: number, key: unknown): LuaValue | undefined;
    hasStored(id: number, key: unknown): boolean;
    setStored(id: number, key: unknown, value: unknown): void;
    deleteStored(id: number, key: unknown): boolean;
    clearStored(id: number): void;
    storedSize(id: number): number;
    storedKeys(id: number): LuaValue[];
    storedEntries(id: number): [LuaValue, LuaValue][];
    copyStored(id: number): object;
}
