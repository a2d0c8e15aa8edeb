"""Magics for notebooks: `%load_ext luacell`, then `%lua return 1 + 1`, or `%%lua` above a cell of Lua."""

from __future__ import annotations

import sys
from typing import Any

import luacell
from luacell._text import escaped


class Magics:
    """One sandbox for the whole notebook, which is also its variable `lua`."""

    def __init__(self, ipython: Any) -> None:
        self.lua = luacell.Sandbox(on_print=lambda text: print(text, end=""))
        self.ipython = ipython
        ipython.push({"lua": self.lua})

    def run(self, line: str, cell: str | None = None) -> Any:
        """Runs the line, or the cell with the line's variables of the notebook as arguments."""
        names = [] if cell is None else line.split()
        args = [self.ipython.user_ns[name] for name in names]
        source = line if cell is None else (f"local {', '.join(names)} = ... " if names else "") + cell
        try:
            return self.lua.compute(source, *args, name="=cell")
        except luacell.LuaCellError as error:
            # A notebook's reader wants Lua's traceback, not that of the magic.
            print(escaped(f"{type(error).__name__}: {error}\n{error.traceback or ''}"), file=sys.stderr)
            return None


def load(ipython: Any) -> None:
    ipython.register_magic_function(Magics(ipython).run, "line_cell", "lua")
