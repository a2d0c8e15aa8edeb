import type { Links } from '../../shared/codec.js';
import { LuaCellError, invalid, lossyText } from '../../shared/errors.js';
import type { HeldFunctions } from '../../shared/held.js';
import { StoredTable } from '../../shared/stored.js';
import type { Core } from './core.js';
import { type FunctionKind, type LuaFunction, functionKinds } from '../../shared/values.js';

/** How values in messages are tied to a sandbox, and to its present instance. */
export class SandboxLinks implements Links {
  constructor(
    readonly core: Core,
    readonly instance: number,
    readonly held: HeldFunctions,
    readonly exact: boolean,
  ) {}

  stored(id: number, cell: boolean): StoredTable {
    return this.core.views.view(id, cell);
  }

  function(kind: FunctionKind): LuaFunction {
    const { core } = this;
    const key = kind.type === 'builtin' ? lossyText(kind.name) : null;
    const known = key === null ? undefined : core.builtins.get(key);
    if (known) return known;
    const f: LuaFunction = (...args) => core.callFunction(f, kind, args);
    functionKinds.set(f, kind);
    if (key !== null) core.builtins.set(key, f);
    return f;
  }

  handle(id: number): LuaFunction {
    return this.held.get(id, () => this.function({ type: 'live', owner: this.core, instance: this.instance, id }));
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
