import luacell from './dist/lib/index.js';

export const { Engine, ErrorKinds, LuaCellError, LuaFloat, Run, Sandbox, Snapshot, StoredTable, expose, multiple, wrap } = luacell;
