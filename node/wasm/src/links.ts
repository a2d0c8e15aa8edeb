import type { Links } from '../../shared/codec.js';
import { LuaCellError, invalid, lossyText } from '../../shared/errors.js';
import type { HeldFunctions } from '../../shared/held.js';
import type { HostValues } from '../../shared/host-values.js';
import { StoredTable } from '../../shared/stored.js';
import type { Runtime } from './runtime.js';
import { type FunctionKind, type LuaFunction, makeFunction } from '../../shared/values.js';

/** How values in messages are tied to a sandbox, and to its present instance. */
export class SandboxLinks implements Links {
  constructor(
    readonly runtime: Runtime,
    readonly instance: number,
    readonly held: HeldFunctions,
    readonly exact: boolean,
    readonly hostValues: HostValues,
  ) {}

  stored(id: number, cell: boolean): StoredTable {
    return this.runtime.views.view(id, cell);
  }

  function(kind: FunctionKind): LuaFunction {
    const { runtime } = this;
    const key = kind.type === 'builtin' ? lossyText(kind.name) : null;
    const known = key === null ? undefined : runtime.builtins.get(key);
    if (known) return known;
    const f: LuaFunction = makeFunction((...args) => runtime.callFunction(f, args).value, runtime.functionPrototype, kind);
    if (key !== null) runtime.builtins.set(key, f);
    return f;
  }

  handle(id: number): LuaFunction {
    return this.held.get(id, () => this.function({ type: 'live', owner: this.runtime, instance: this.instance, id }));
  }

  idOf(table: StoredTable): number {
    if (table.owner !== this.runtime.views) throw invalid("a stored table of another sandbox can't be passed; pass table.copy()");
    return table.id;
  }

  handleOf(kind: FunctionKind & { type: 'live' }): number {
    if (kind.owner !== this.runtime) throw invalid("a function of another sandbox can't be passed");
    if (kind.instance !== this.instance) throw new LuaCellError('Closed', 'the function is gone: its sandbox was restarted');
    return kind.id;
  }
}
