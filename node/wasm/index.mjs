// Node.js gets the same classes by `import` as by `require`: an error of the one is an error of the other.
import luacell from './dist/cjs/wasm/src/cjs.js';

export const { Engine, ErrorKinds, IndexedDBStore, LuaCellError, LuaFloat, Run, Sandbox, Snapshot, StoredTable, expose, multiple, openIndexedDB, wrap } = luacell;
