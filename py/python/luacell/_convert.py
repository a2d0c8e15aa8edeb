"""What the native part does not know how to pass to Lua."""

from __future__ import annotations

from _collections_abc import Mapping, Sequence  # collections.abc would import all of collections

from ._errors import LuaConversionError, LuaInvalidArgumentError
from ._objects import Wrapped, async_iterator, exposed, iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")

_converters: dict[type, Callable[[Any], Any]] = {}


def converter(cls: type[T], /) -> Callable[[Callable[[T], Any]], Callable[[T], Any]]:
    """Says how objects of a class (and of its subclasses) are passed to Lua.

    >>> from decimal import Decimal
    >>> @luacell.converter(Decimal)
    ... def _(number):
    ...     return str(number)

    The function gets the object and returns one that luacell knows: None, bool, int, float, str, bytes, a list or tuple, a dict, or anything with a
    converter of its own. A class of your own can have a method `__lua__(self)` instead. Dataclasses and pydantic models need
    neither: they become tables of their fields.
    """
    if not isinstance(cls, type):
        raise LuaInvalidArgumentError(f"converter takes a class, not {cls!r:.100}")

    def register(function: Callable[[T], Any]) -> Callable[[T], Any]:
        if not callable(function):
            raise LuaInvalidArgumentError(f"converter({cls.__qualname__}) takes a function, not {function!r:.100}")
        _converters[cls] = function
        return function

    return register


_PLAIN, _ENTRIES, _MADE_PAIRS, _MADE_ITEMS, _CALLABLE, _OBJECT, _NULL = range(7)


class Null:
    """The class of luacell.null: what json.null is in Lua, a value where a table could not hold nil. It comes back as None, and equals it."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Null)

    def __hash__(self) -> int:
        return hash(None)

    def __repr__(self) -> str:
        return "luacell.null"

    def __reduce__(self) -> str:
        return "null"


null = Null()


def fallback(value: Any) -> tuple[int, Any]:
    """Called by the native part: how to pass `value`: as another object, as entries, as pairs or items that are made on demand, as a callable,
    as an object, or as null."""
    cls = type(value)
    if cls is Null:
        return _NULL, None
    if cls is Wrapped:
        return _OBJECT, (value._class, value._object)
    if exposed:
        for base in cls.__mro__:
            if base in exposed:
                return _OBJECT, (exposed[base], value)
    if _converters:
        for base in cls.__mro__:
            if base in _converters:
                return _PLAIN, _converters[base](value)
    if hasattr(cls, "__lua__"):
        return _PLAIN, value.__lua__()
    if hasattr(cls, "__dataclass_fields__"):
        return _ENTRIES, [(name, getattr(value, name)) for name in cls.__dataclass_fields__ if hasattr(value, name)]
    if hasattr(cls, "model_dump") and hasattr(cls, "model_fields"):
        return _PLAIN, value.model_dump()
    if isinstance(value, Mapping):
        return _MADE_PAIRS, value.items()
    if isinstance(value, Sequence):
        return _MADE_ITEMS, value
    # numpy: scalars become Python's own, arrays become lists.
    if hasattr(cls, "dtype"):
        plain = value.item() if getattr(value, "ndim", 0) == 0 else value.tolist()
        if type(plain) is not cls:
            return _PLAIN, plain
    if hasattr(cls, "__next__"):
        return _OBJECT, (iterator, value)
    if hasattr(cls, "__anext__"):
        return _OBJECT, (async_iterator, value)
    if callable(value) and not isinstance(value, type):
        return _CALLABLE, value
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    if isinstance(value, type):
        advice = "pass a function that calls it"
    else:
        advice = "use luacell.converter to say how its class is passed, or luacell.expose to say what scripts may do with it"
    raise LuaConversionError(f"a value of the type {name} can't be passed to Lua; {advice}")
