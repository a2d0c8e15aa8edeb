"""Objects of Python in Lua."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import luacell


@luacell.expose
class Point:
    """Everything public that it defines itself."""

    x: int
    y: int
    _hidden: int
    count = 0

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y, self._hidden, self.more = x, y, 3, 4

    def sum(self) -> int:
        return self.x + self.y

    def plus(self, x: int, y: int = 0) -> Point:
        return Point(self.x + x, self.y + y)

    def several(self) -> tuple[int, int]:
        return self.x, self.y

    def fail(self, text: str) -> None:
        raise luacell.LuaHostFunctionError(text)

    async def later(self) -> int:
        await asyncio.sleep(0)
        return self.x

    @staticmethod
    def fixed() -> int:
        return 7

    @property
    def pair(self) -> tuple[int, int]:
        return self.x, self.y

    @property
    def left(self) -> int:
        return self.x

    @left.setter
    def left(self, x: int) -> None:
        self.x = x

    def _private(self) -> int:
        return self._hidden

    def __add__(self, other: int) -> Point:
        return self.plus(other)

    def __radd__(self, other: int) -> Point:
        return self.plus(0, other)

    def __neg__(self) -> Point:
        return Point(-self.x, -self.y)

    def __len__(self) -> int:
        return 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    def __hash__(self) -> int:
        return hash((self.x, self.y))

    def __lt__(self, other: Point) -> bool:
        return self.x < other.x

    def __str__(self) -> str:
        return f"({self.x}, {self.y})"

    def __call__(self, *args: Any) -> tuple[Any, ...]:
        return (self.x, *args)


@pytest.fixture
def lua() -> luacell.Sandbox:
    return luacell.Sandbox(timeout=None)


def test_methods_fields_and_operators(lua: luacell.Sandbox) -> None:
    p = Point(1, 2)
    assert lua.compute("p = ... return p:sum(), p:plus(10):sum(), p:plus(10, 20):sum(), p:fixed() ", p)[:3] == (3, 13, 33)
    assert lua.compute("return p:several()") == (1, 2)
    assert lua.compute("return p.x, p.y, p.left, type(p)") == (1, 2, 1, "userdata")
    assert lua.compute("return p.pair") == [1, 2]
    assert lua.compute("p.left = 5 return p.x") == 5 == p.x
    assert lua.compute("return #p, (p + 1).x, (1 + p).y, (-p).x, tostring(p)") == (2, 6, 3, -5, "(5, 2)")
    assert lua.compute("return p == p:plus(0), p ~= p:plus(1), p < p:plus(1), p > p:plus(1)") == (True, True, True, False)
    assert lua.compute("return p(8, 9)") == (5, 8, 9)
    for name in ("_hidden", "_private", "__init__", "__class__", "__dict__", "more", "count", "mro"):
        assert lua.compute(f"return p[{name!r}]") is None, name
        with pytest.raises(luacell.LuaRuntimeError, match="can't set"):
            lua.compute(f"p[{name!r}] = 1")
    with pytest.raises(luacell.LuaRuntimeError, match="can't set 'y' of a Point"):
        lua.compute("p.y = 1")


def test_the_same_one_in_both_directions(lua: luacell.Sandbox) -> None:
    p = Point(1, 2)
    lua.compute("function same(...) return ... end function keep(v) kept = v end")
    assert lua.call("same", p) is p
    back = lua.call("same", [p, {"p": p}])
    assert back[0] is p and back[1]["p"] is p
    lua.call("keep", p)
    assert lua.compute("return rawequal(kept, ...)", p) is True
    assert lua.compute("return kept") is p
    found: list[object] = []
    lua.register("found", found.append)
    lua.compute("found(kept)")
    assert found[0] is p


def test_only_with_an_object_of_the_class(lua: luacell.Sandbox) -> None:
    class Other:
        def sum(self) -> int:
            return 1

    lua.compute("p, o, q = ...", Point(1, 2), luacell.wrap(Other(), methods=()), luacell.wrap(Point(3, 4), methods=["several"]))
    for source in ("p.sum()", "p.sum(o)", "p.sum(q)", "q.sum(p)", "o:sum()", "p.sum({})", "q.x = 1"):
        with pytest.raises(luacell.LuaCellError):
            lua.compute(f"return {source}" if "=" not in source else source)
    assert lua.compute("return q:several()") == (3, 4)
    assert lua.compute("return q.x, q.sum") == (None, None)


def test_listed_members(lua: luacell.Sandbox) -> None:
    class Base:
        def inherited(self) -> str:
            return "inherited"

        def other(self) -> str:
            return "other"

    @luacell.expose(methods=["inherited", "__getitem__", "__setitem__"], fields=["n"], writable=["m"], name="Store")
    class Store(Base):
        def __init__(self) -> None:
            self.n, self.m, self.secret = 1, 2, 3
            self.items: dict[Any, Any] = {}

        def __getitem__(self, key: Any) -> Any:
            return self.items[key]

        def __setitem__(self, key: Any, value: Any) -> None:
            self.items[key] = value

    class Derived(Store):
        def inherited(self) -> str:
            return "overridden"

    s = Store()
    lua.compute("s, d = ...", s, Derived())
    assert lua.compute("return s:inherited(), d:inherited(), s.n, s.m, s.other, s.secret") == ("inherited", "overridden", 1, 2, None, None)
    lua.compute("s.m = 7 s.key = 'v' s[1] = 'one'")
    assert s.m == 7 and s.items == {"key": "v", 1: "one"}
    assert lua.compute("return s.key, s[1], s[2]") == ("v", "one", None)
    assert "Store" in lua.compute("return tostring(s)")
    with pytest.raises(luacell.LuaConversionError, match="can't store a Store"):
        lua.compute("_home.s = s")


def test_dataclasses_slots_and_converters(lua: luacell.Sandbox) -> None:
    @luacell.expose
    @dataclasses.dataclass
    class Record:
        name: str
        tags: list[str] = dataclasses.field(default_factory=list)

    @luacell.expose
    class Slots:
        __slots__ = ("_b", "a")

        def __init__(self) -> None:
            self.a, self._b = 1, 2

    lua.compute("r, s = ...", Record("x", ["t"]), Slots())
    assert lua.compute("return r.name, r.tags[1], s.a, s._b") == ("x", "t", 1, None)
    assert lua.compute("return r == ...", Record("x", ["t"])) is True


def test_one_object(lua: luacell.Sandbox) -> None:
    entries = {"a": 1}
    wrapped = luacell.wrap(entries, methods=["get", "__len__", "__getitem__"])
    lua.compute("t = ...", wrapped)
    assert lua.compute("return t:get('a'), t:get('b', 2), #t, t.a, t.b, t") == (1, 2, 1, 1, None, entries)
    assert lua.compute("return rawequal(t, ...)", lua.wrap(entries, methods=["get", "__len__", "__getitem__"])) is True
    assert lua.compute("return rawequal(t, ...)", luacell.wrap(entries, methods=["get"])) is False
    assert repr(wrapped) == "<luacell.wrap of a dict>"


def test_what_makes_no_sense_is_an_error() -> None:
    for parameters in ({"methods": ["sun"]}, {"methods": "sum"}, {"methods": [1]}, {"fields": ["_x"]}, {"methods": ["__init__"]}, {"writable": ["__class__"]}):
        anything: Any = parameters
        with pytest.raises(luacell.LuaInvalidArgumentError):
            luacell.wrap(Point(1, 2), **anything)
        with pytest.raises(luacell.LuaInvalidArgumentError):
            luacell.expose(**anything)(Point)
    not_a_class: Any = Point(1, 2)
    with pytest.raises(luacell.LuaInvalidArgumentError, match="use wrap"):
        luacell.expose(not_a_class)
    with pytest.raises(luacell.LuaInvalidArgumentError, match="values in Lua"):
        luacell.expose(type("D", (dict,), {}))


def test_errors(lua: luacell.Sandbox) -> None:
    lua.compute("p = ...", Point(1, 2))
    with pytest.raises(luacell.LuaHostFunctionError, match="no luck"):
        lua.compute("p:fail('no luck')")
    with pytest.raises(luacell.LuaHostFunctionError) as raised:
        lua.compute("return p:plus('x')")
    assert isinstance(raised.value.__cause__, TypeError)
    assert "TypeError" not in lua.compute("return select(2, pcall(p.plus, p, 'x'))")

    @luacell.expose
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise KeyError("odd")

        __hash__ = None  # type: ignore[assignment]

        @property
        def unfit(self) -> object:
            return object()

        @property
        def gone(self) -> object:
            raise AttributeError("odd")

    lua.compute("a, b = ...", Odd(), Odd())
    for source in ("return a == b", "return a.unfit", "return a.gone"):
        with pytest.raises(luacell.LuaCellError):
            lua.compute(source)
        assert lua.compute(f"return (pcall(function() {source} end))") is False


def test_awaitable_methods(lua: luacell.Sandbox) -> None:
    async def main() -> None:
        assert await lua.compute_async("p = ... return p:later(), p:sum()", Point(8, 2)) == (8, 10)

    asyncio.run(main())


def test_leaving(lua: luacell.Sandbox) -> None:
    ended: list[Any] = []

    @luacell.expose
    class Context:
        def __enter__(self) -> None: ...

        def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
            ended.append(str(error) if error is not None else None)

    lua.compute("local c <close> = ...", Context())
    lua.compute("local c = ... pcall(function() local d <close> = c error('x', 0) end)", Context())
    assert ended == [None, "x"]


def test_what_lua_lets_go_of_is_freed(lua: luacell.Sandbox) -> None:
    p = Point(1, 2)
    gone = weakref.ref(p)
    lua.compute("kept = ...", p)
    del p
    gc.collect()
    assert gone() is not None
    lua.compute("kept = nil")
    lua.gc()
    lua.gc()
    assert gone() is None


def test_a_cycle_through_lua_is_collected() -> None:
    @luacell.expose
    class Holder:
        def __init__(self, lua: luacell.Sandbox) -> None:
            self.lua = lua

    lua = luacell.Sandbox()
    holder = Holder(lua)
    gone = weakref.ref(holder)
    lua.compute("kept = ...", holder)
    del holder, lua
    gc.collect()
    assert gone() is None


def test_wrapped_again_and_again_does_not_grow(lua: luacell.Sandbox) -> None:
    for n in range(3000):
        assert lua.compute("local p = ... return p.x", luacell.wrap(Point(n, 0), fields=["x"])) == n
        cls = type("Made", (), {"value": lambda self: 5})
        assert lua.compute("local p = ... return p:value()", luacell.wrap(cls(), methods=["value"])) == 5
    lua.gc()
    assert lua.memory_stats().lua_bytes < 1 << 20


def test_iterators(lua: luacell.Sandbox) -> None:
    closed: list[str] = []

    def rows(name: str) -> Iterator[tuple[int, str]]:
        try:
            for n in itertools.count(1):
                yield n, f"{name}{n}"
        finally:
            closed.append(name)

    lua.register("rows", rows)
    assert lua.compute("local t = {} for n, s in rows('a') do if n > 3 then break end t[n] = s end return t") == ["a1", "a2", "a3"]
    assert closed == ["a"]
    with pytest.raises(luacell.LuaRuntimeError):
        lua.compute("for n in rows('b') do error('x') end")
    assert closed == ["a", "b"]
    assert lua.compute("local s = 0 for n in ... do s = s + n end return s", iter([1, 2, 3])) == 6
    own = iter([1, 2, 3])
    assert lua.compute("local it = ... it() return it", own) is own
    assert list(own) == [2, 3]
    with pytest.raises(luacell.LuaCellError, match="gave None"):
        lua.compute("for n in ... do last = n end", iter([1, None, 3]))
    assert lua.compute("return last") == 1
    with pytest.raises(luacell.LuaHostFunctionError) as raised:
        lua.compute("for n in ... do end", (1 // n for n in [1, 0]))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_iterable_objects(lua: luacell.Sandbox) -> None:
    @luacell.expose
    class Bag:
        def __init__(self, *items: Any) -> None:
            self._items = items

        def __iter__(self) -> Iterator[Any]:
            return iter(self._items)

    lua.compute("bag = ...", Bag("a", "b"))
    assert lua.compute("local t = {} for x in bag do for y in bag do t[#t + 1] = x .. y end end return t") == ["aa", "ab", "ba", "bb"]
    assert lua.compute("local t = {} for i, x in pairs(bag) do t[i] = x end return t") == ["a", "b"]
    entries = luacell.wrap({"x": 1, "y": 2}, methods=["__iter__"])
    assert lua.compute("local t = {} for k, v in pairs(...) do t[v] = k end return t", entries) == ["x", "y"]


def test_async_iterators(lua: luacell.Sandbox) -> None:
    closed: list[bool] = []

    async def ticks() -> AsyncIterator[int]:
        try:
            for n in itertools.count(1):
                await asyncio.sleep(0)
                yield n
        finally:
            closed.append(True)

    async def main() -> None:
        lua.register("ticks", ticks)
        assert await lua.compute_async("local s = 0 for n in ticks() do if n > 4 then break end s = s + n end return s") == 10
        assert closed == [True]

    asyncio.run(main())


def test_iterators_of_lua(lua: luacell.Sandbox) -> None:
    assert [*lua.compute("local n = 0 return function() n = n + 1 if n < 4 then return n end end")] == [1, 2, 3]
    step, state, control = lua.compute("return ipairs({'a', 'b'})")
    assert list(step.iterate(state, control)) == [(1, "a"), (2, "b")]
    assert list(lua.compute("return coroutine.wrap(function() for i = 1, 2 do coroutine.yield(i, i * 2) end end)")) == [(1, 2), (2, 4)]
    with pytest.raises(luacell.LuaRuntimeError, match="broken"):
        list(lua.compute("return function() error('broken') end"))
    assert list(lua.compute("return function() end")) == []
