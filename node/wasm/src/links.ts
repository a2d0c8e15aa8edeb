import type { Links } from './codec.js';
import { LuaCellError, invalid } from './errors.js';
import { StoredTable } from './stored.js';
import type { Core } from './core.js';
import { type FunctionKind, type LuaFunction, functionKinds } from './values.js';

/** How values in messages are tied to a sandbox, and to its present instance. */
export class SandboxLinks implements Links {
  constructor(
    readonly core: Core,
    readonly instance: number,
    readonly exact: boolean,
  ) {}

  stored(id: number, cell: boolean): StoredTable {
    return this.core.views.view(id, cell);
  }

  function(kind: FunctionKind): LuaFunction {
    const { core } = this;
    const f: LuaFunction = (...args) => core.callFunction(f, kind, args);
    functionKinds.set(f, kind);
    return f;
  }

  handle(id: number): LuaFunction {
    const f = this.function({ type: 'live', owner: this.core, instance: this.instance, id });
    this.core.watchHandle(f, this.instance, id);
    return f;
  }

  idOf(table: StoredTable): number {
    if (table.owner !== this.core.views) throw invalid("a stored table of another sandbox can't be passed; pass table.copy()");
    return table.id;
  }

  handleOf(kind: FunctionKind & { type: 'live' }): number {
    if (kind.owner !== this.core) throw invalid("a function of another sandbox can't be passed");
    if (kind.instance !== this.instance) throw new LuaCellError('Closed', 'the function is gone: its sandbox was started anew');
    return kind.id;
  }
}
