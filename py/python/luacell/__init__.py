"""Run untrusted Lua 5.4 in a sandbox.

>>> import luacell
>>> with luacell.Sandbox(memory_limit="64MiB", timeout=0.5) as lua:
...     lua.compute("return 1 + 1")
2
"""

from ._convert import converter, null
from ._errors import (
    LuaBusyError,
    LuaCellError,
    LuaClosedError,
    LuaConflictError,
    LuaConversionError,
    LuaHostCallLimitError,
    LuaHostFunctionError,
    LuaInstructionLimitError,
    LuaInternalError,
    LuaInterruptedError,
    LuaInvalidArgumentError,
    LuaMemoryError,
    LuaOutputLimitError,
    LuaRuntimeError,
    LuaStoreError,
    LuaStoreLimitError,
    LuaSyntaxError,
    LuaTimeoutError,
    LuaTrapError,
)
from ._luacell import ERROR_KINDS, Engine, Function, MemoryStats, Metrics, Outcome, PendingRun, Request, Run, Snapshot, __version__
from ._objects import expose, wrap
from ._sandbox import Sandbox
from ._table import Entries, Table


def load_ipython_extension(ipython):  # type: ignore[no-untyped-def]
    """`%load_ext luacell` gives notebooks the magics `%lua` and `%%lua`."""
    from ._ipython import load

    load(ipython)


__all__ = [
    "ERROR_KINDS",
    "Engine",
    "Entries",
    "Function",
    "LuaBusyError",
    "LuaCellError",
    "LuaClosedError",
    "LuaConflictError",
    "LuaConversionError",
    "LuaHostCallLimitError",
    "LuaHostFunctionError",
    "LuaInstructionLimitError",
    "LuaInternalError",
    "LuaInterruptedError",
    "LuaInvalidArgumentError",
    "LuaMemoryError",
    "LuaOutputLimitError",
    "LuaRuntimeError",
    "LuaStoreError",
    "LuaStoreLimitError",
    "LuaSyntaxError",
    "LuaTimeoutError",
    "LuaTrapError",
    "MemoryStats",
    "Metrics",
    "Outcome",
    "PendingRun",
    "Request",
    "Run",
    "Sandbox",
    "Snapshot",
    "Table",
    "__version__",
    "converter",
    "expose",
    "null",
    "wrap",
]
