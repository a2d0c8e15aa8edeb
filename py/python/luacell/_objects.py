"""Objects of Python in Lua: what scripts may do with them."""

from __future__ import annotations

import operator
from _collections_abc import Mapping  # collections.abc would import all of collections
from functools import lru_cache

from ._errors import LuaConversionError, LuaInvalidArgumentError
from ._luacell import _ObjectClass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar, overload

    T = TypeVar("T", bound=type)
else:

    def overload(function):
        return None


exposed: dict[type, _ObjectClass] = {}


def _get_item(container: Any, key: Any) -> Any:
    try:
        return container[key]
    except (KeyError, IndexError):
        return None  # as in a table


def _set_item(container: Any, key: Any, value: Any) -> None:
    container[key] = value


def _call(function: Any, *args: Any) -> Any:
    return function(*args)


def _leave(context: Any, error: Any = None) -> None:
    exception = None if error is None else error if isinstance(error, BaseException) else RuntimeError(error)
    context.__exit__(None if exception is None else type(exception), exception, None)


def _pairs(container: Any, *_: Any) -> Any:
    return iter(container.items()) if isinstance(container, Mapping) else enumerate(container, 1)


def _next(iterator: Any, *_: Any) -> Any:
    for item in iterator:
        return _check_step(item)
    return None


async def _next_async(iterator: Any, *_: Any) -> Any:
    async for item in iterator:
        return _check_step(item)
    return None


def _check_step(item: Any) -> Any:
    if item is None or isinstance(item, tuple) and (not item or item[0] is None):
        raise LuaConversionError("an iterator of the host gave None, which would end the loop")
    return item


def _close(iterator: Any, *_: Any) -> None:
    if hasattr(iterator, "close"):
        iterator.close()


async def _close_async(iterator: Any, *_: Any) -> None:
    if hasattr(iterator, "aclose"):
        await iterator.aclose()


# What Lua calls them, and what they do. Lua passes the operand of those with one operand twice.
_OPERATORS: dict[str, tuple[str, Callable[..., Any]]] = {
    "__add__": ("__add", operator.add),
    "__sub__": ("__sub", operator.sub),
    "__mul__": ("__mul", operator.mul),
    "__truediv__": ("__div", operator.truediv),
    "__floordiv__": ("__idiv", operator.floordiv),
    "__mod__": ("__mod", operator.mod),
    "__pow__": ("__pow", operator.pow),
    "__neg__": ("__unm", lambda operand, _: -operand),
    "__and__": ("__band", operator.and_),
    "__or__": ("__bor", operator.or_),
    "__xor__": ("__bxor", operator.xor),
    "__invert__": ("__bnot", lambda operand, _: ~operand),
    "__lshift__": ("__shl", operator.lshift),
    "__rshift__": ("__shr", operator.rshift),
    "__len__": ("__len", lambda operand, _: len(operand)),
    "__eq__": ("__eq", operator.eq),
    "__lt__": ("__lt", operator.lt),
    "__le__": ("__le", operator.le),
    "__str__": ("__tostring", str),
    "__getitem__": ("__index", _get_item),
    "__setitem__": ("__newindex", _set_item),
    "__call__": ("__call", _call),
    "__exit__": ("__close", _leave),
    "__iter__": ("__iter", lambda container, *_: iter(container)),
    "__aiter__": ("__iter", lambda container, *_: container.__aiter__()),
}

iterator = _ObjectClass("iterator", [("call", "__call", _next), ("operator", "__close", _close)])
async_iterator = _ObjectClass("iterator", [("call", "__call", _next_async), ("operator", "__close", _close_async)])

# These are values in Lua, whatever class of theirs is exposed.
_VALUES = (bool, int, float, str, bytes, bytearray, dict, list, tuple)


class Wrapped:
    """An object with what scripts may do with it: see wrap."""

    __slots__ = ("_class", "_object")

    def __init__(self, cls: _ObjectClass, object: object) -> None:
        self._class = cls
        self._object = object

    def __repr__(self) -> str:
        return f"<luacell.wrap of a {type(self._object).__qualname__}>"


@overload
def expose(cls: T, /) -> T: ...
@overload
def expose(
    cls: None = None,
    /,
    *,
    methods: Iterable[str] | None = ...,
    fields: Iterable[str] | None = ...,
    writable: Iterable[str] | None = ...,
    name: str | None = ...,
) -> Callable[[T], T]: ...
def expose(
    cls: Any = None,
    /,
    *,
    methods: Iterable[str] | None = None,
    fields: Iterable[str] | None = None,
    writable: Iterable[str] | None = None,
    name: str | None = None,
) -> Any:
    """Says what scripts may do with the objects of a class: they are passed as themselves, and come back as themselves.

    >>> @luacell.expose
    ... class Counter:
    ...     def __init__(self):
    ...         self.n = 0
    ...     def add(self, by):
    ...         self.n += by
    ...         return self.n
    >>> luacell.Sandbox().compute("local counter = ... return counter:add(2)", Counter())
    2

    Without arguments that is what the class itself defines: its methods, properties (written if they have a setter) and annotated attributes (read), and
    operators such as `__add__`, `__len__`, `__getitem__`, `__call__`, `__iter__` and `__str__`. Names that begin with an underscore and what is inherited don't exist in
    Lua. With methods, fields (read) or writable (read and written) it is what they list, inherited members too; operators are listed among the methods.

    Objects of subclasses offer the same. Lua holds the object until it has collected it.
    """
    if cls is None:
        return lambda cls: _expose(cls, methods, fields, writable, name)
    return _expose(cls, methods, fields, writable, name)


def _expose(cls: Any, methods: Any, fields: Any, writable: Any, name: Any) -> Any:
    if not isinstance(cls, type):
        raise LuaInvalidArgumentError(f"expose takes a class, not {cls!r:.100}; use wrap for one object")
    if issubclass(cls, _VALUES):
        raise LuaInvalidArgumentError(f"objects of {cls.__qualname__} are values in Lua, because it is a {cls.__mro__[-2].__name__}; use wrap for one of them")
    exposed[cls] = _make(cls, _names(methods, "methods"), _names(fields, "fields"), _names(writable, "writable"), name)
    return cls


def wrap(
    object: object,
    /,
    *,
    methods: Iterable[str] | None = None,
    fields: Iterable[str] | None = None,
    writable: Iterable[str] | None = None,
    name: str | None = None,
) -> Any:
    """The object as one that scripts can do this with, and nothing else: pass what this gives. The parameters are those of expose.

    >>> import datetime
    >>> day = luacell.wrap(datetime.date(2030, 1, 2), methods=["isoformat"], fields=["year"])
    >>> luacell.Sandbox().compute("local day = ... return day.year, day:isoformat(), day", day)
    (2030, '2030-01-02', datetime.date(2030, 1, 2))
    """
    cls: Any = type(object)
    return Wrapped(_class_of(cls, _names(methods, "methods"), _names(fields, "fields"), _names(writable, "writable"), name), object)


def _names(names: Any, parameter: str) -> tuple[str, ...] | None:
    if names is None:
        return None
    listed = None if isinstance(names, str) else tuple(names)
    if listed is None or not all(isinstance(name, str) for name in listed):
        raise LuaInvalidArgumentError(f"{parameter}: names are wanted, not {names!r:.100}")
    for name in listed:
        if name.startswith("_") and not (parameter == "methods" and name in _OPERATORS):
            raise LuaInvalidArgumentError(f"{parameter}: {name!r} is private")
    return listed


def _make(cls: type, methods: tuple[str, ...] | None, fields: tuple[str, ...] | None, writable: tuple[str, ...] | None, name: str | None) -> _ObjectClass:
    if methods is None and fields is None and writable is None:
        methods, fields, writable = _own(cls)
    members: list[tuple[str, str, Any]] = []
    for method in methods or ():
        if not callable(getattr(cls, method, None)):
            raise LuaInvalidArgumentError(f"methods: {cls.__qualname__} has no method {method!r}")
        if method in _OPERATORS:
            event, function = _OPERATORS[method]
            members.append(("call" if event == "__call" else "operator", event, function))
            if method == "__iter__":
                members.append(("operator", "__pairs", _pairs))
        else:
            members.append(("method", method, method))
    for field in dict.fromkeys((*(fields or ()), *(writable or ()))):
        members.append(("reader", field, field))
    members.extend(("writer", field, field) for field in writable or ())
    return _ObjectClass(cls.__name__ if name is None else name, members)


# Each has a number of its own in Lua, so an object that is wrapped again should find its class.
_class_of = lru_cache(maxsize=1024)(_make)


def _own(cls: type) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """What the class itself defines and does not hide."""
    methods: list[str] = []
    fields: list[str] = []
    writable: list[str] = []
    for name, member in vars(cls).items():
        if name in _OPERATORS:
            if member is not None:
                methods.append(name)
        elif name.startswith("_") or isinstance(member, type):
            continue
        elif isinstance(member, property):
            (fields if member.fset is None else writable).append(name)
        elif callable(member) or isinstance(member, (staticmethod, classmethod)):
            methods.append(name)
        elif hasattr(type(member), "__get__"):
            fields.append(name)  # a slot, or a descriptor of the class's own
    fields.extend(name for name in cls.__annotations__ if not name.startswith("_") and name not in fields)
    return tuple(methods), tuple(fields), tuple(writable)
