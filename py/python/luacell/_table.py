"""Live views of stored tables."""

from __future__ import annotations

from _collections_abc import Mapping, MutableMapping  # collections.abc would import all of collections

from ._luacell import _TableBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _Mapping = MutableMapping[Any, Any]
else:
    _Mapping = MutableMapping


# The native methods come first; MutableMapping adds keys, items, pop, update and so on.
class Table(_TableBase, _Mapping):
    """A live view of a table in the sandbox's store, as a mapping.

    Reading and writing go to the store at once; nested tables are views too. Setting a key to None removes it, as in Lua. Every write is a
    transaction of its own. `to_python` returns a plain copy.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _TableBase):
            return bool(self._same(other) or self.to_python() == other.to_python())
        if isinstance(other, (Mapping, list)):
            return bool(self.to_python() == (other if isinstance(other, list) else dict(other)))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        name = {1: "_home", 2: "_io"}.get(self.id, f"stored {self.id}")
        try:
            text = repr(self.to_python())
        except Exception as error:  # RecursionError, for what is nested too deeply, too
            text = repr(type(error).__name__)
        if len(text) > 200:
            text = text[:200] + "..."
        return f"<luacell.Table {name}: {text}>"


class Entries(list):  # type: ignore[type-arg]
    """The entries of a table that a dict can't hold: a list of pairs of key and value.

    These are tables with tables as keys, and tables with both 1 and true as keys, which are the same key in Python. To create such a table in Lua, pass Entries.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Entries({super().__repr__()})"
