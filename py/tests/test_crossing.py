"""What crosses between Python and Lua, and what Python does with it by itself."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import json
import pickle
import pprint
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

import luacell

#: Python looks for these by itself, on an object or on its class.
NAMES = sorted({name for cls in (object, dict, list, int, type(iter([]))) for name in dir(cls) if name.startswith("__")} | {"__await__", "__fspath__", "__lua__", "__html__", "keys", "items"})

USES: list[Callable[[Any], object]] = [
    repr,
    str,
    bool,
    len,
    hash,
    iter,
    list,
    sorted,
    copy.copy,
    copy.deepcopy,
    pickle.dumps,
    json.dumps,
    pprint.pformat,
    "{0!r} {0} {0:>5}".format,
    lambda value: f"{value!s} {value!r}",
    lambda value: value == value and value == {} and value != [value],
    lambda value: value < value,
    lambda value: value in [value, 1],
    lambda value: 1 in value,
    lambda value: {**value},
    lambda value: dir(value),
    lambda value: value + value,
    lambda value: int(value),
    lambda value: open(value),
    lambda value: isinstance(1, value),
    lambda value: next(value),
    lambda value: getattr(value, "x"),
    lambda value: asyncio.run(_awaited(value)),
    lambda value: contextlib.ExitStack().enter_context(value),
]


async def _awaited(value: Any) -> Any:
    return await value


def test_results_run_no_script_by_themselves() -> None:
    lua = luacell.Sandbox()
    touched: list[object] = []
    lua.register("touched", touched.append)
    lua.compute(
        """
        function make(names)
          local f = function(...) touched(...) end
          local meta, t = {__name = 'script', __metatable = 'script'}, {}
          for _, name in ipairs(names) do meta[name] = f t[name] = f end
          for _, name in ipairs {'__index', '__newindex', '__tostring', '__eq', '__lt', '__le', '__len', '__call', '__pairs', '__close', '__concat', '__unm'} do
            meta[name] = f
          end
          return setmetatable(t, meta), f
        end
        """
    )
    table, function = lua.call("make", NAMES)
    stored = lua.compute("local t = ... _home.t = {} for k, v in pairs(t) do _home.t[k] = v end _home.t.list = {{f = t.__repr__}} return _home.t", {"__repr__": function, "n": 1})
    with pytest.raises(luacell.LuaRuntimeError) as caught:
        lua.compute("error((make(...)))", NAMES)
    touched.clear()
    for value in (table, function, stored, lua.home, (table, [table]), {"a": table}, caught.value, caught.value.value, lua.outcome, lua):
        for use in USES:
            with contextlib.suppress(Exception):
                use(value)
    assert touched == []
    assert table.keys() == set(NAMES)
    function(5)
    assert touched == [5]


def test_the_same_function_is_equal() -> None:
    lua, other = luacell.Sandbox(), luacell.Sandbox()
    a, b, c, upper, again = lua.compute("function f() end function g() return 'g' end return f, f, g, string.upper, string.upper")
    assert a == b and hash(a) == hash(b) and a != c and upper == again and hash(upper) == hash(again) and a != upper and a != 5
    assert lua.compute("return f") == a
    assert {a: 1, b: 2, c: 3} == {a: 2, c: 3}
    assert lua.compute("local t = ... return t[f], t[g]", {a: 2, c: 3}) == (2, 3)
    assert other.compute("function f() end return f") != a
    handlers: list[luacell.Function] = []
    lua.register("on", handlers.append)
    lua.register("off", handlers.remove)
    lua.compute("on(f) on(g) off(f)")
    assert handlers == [c] and handlers[0]() == "g"
    for _ in range(10):
        lua.compute("collectgarbage() return f, g, f")
    assert handlers[0]() == "g" and a() is None
    lua.reset()
    assert lua.compute("function f() end return f") != a


def test_a_function_that_is_called_later_has_the_limits_of_the_sandbox() -> None:
    lua = luacell.Sandbox(instruction_limit=100_000)
    function = lua.compute("return function() while true do end end", instruction_limit=2**63, timeout=None)
    with pytest.raises(luacell.LuaInstructionLimitError):
        function()


SECRET = "/srv/secret"


class Odd(TypeError):
    pass


class Hostile(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError(SECRET)


@pytest.mark.parametrize(
    ("raised", "shown", "message"),
    [
        (ValueError("no such article"), "no such article", "no such article"),
        (Odd("mistaken"), "mistaken", "mistaken"),
        (OSError("the price list is down"), "the price list is down", "the price list is down"),
        (luacell.LuaHostFunctionError("chosen"), "chosen", "chosen"),
        (FileNotFoundError(2, "No such file or directory", SECRET), None, f"the host function failed: [Errno 2] No such file or directory: '{SECRET}'"),
        (ImportError(f"no module in {SECRET}"), None, f"the host function failed: no module in {SECRET}"),
        (SyntaxError("invalid syntax", (SECRET, 1, 1, "x")), None, "the host function failed: invalid syntax (secret, line 1)"),
        (ValueError(), None, "the host function failed: ValueError"),
        (Hostile(), None, "the host function failed: Hostile"),
    ],
)
def test_scripts_see_of_exceptions_what_was_said_to_them(raised: Exception, shown: str | None, message: str) -> None:
    lua, other = luacell.Sandbox(), luacell.Sandbox()

    def fail() -> None:
        raise raised from KeyError(SECRET)

    lua.register("fail", fail)
    other.register("fail", fail)
    lua.register("inner", lambda: lua.compute("fail()"))
    lua.register("elsewhere", lambda: other.compute("fail()"))
    assert lua.compute("return pcall(fail)") == (False, shown or "the host function failed")
    for name in ("fail", "inner", "elsewhere"):
        seen = lua.compute(f"return select(2, xpcall({name}, debug.traceback))")
        assert (shown or "the host function failed") in seen
        assert not any(word in seen for word in ("secret", "Traceback", ".py", type(raised).__name__)), seen
    with pytest.raises(luacell.LuaHostFunctionError) as caught:
        lua.compute("fail()", name="=x")
    assert str(caught.value) == f"x:1: {message}"
    assert caught.value.__cause__ is raised
    with pytest.raises(luacell.LuaHostFunctionError) as outer:
        lua.compute("elsewhere()")
    assert message in str(outer.value)


def test_scripts_see_nothing_of_what_can_not_be_passed() -> None:
    lua = luacell.Sandbox()
    lua.register("odd", lambda: [Odd()])
    assert lua.compute("return pcall(odd)") == (False, "the host function gave a result that can't be passed")
    with pytest.raises(luacell.LuaCellError, match=r"Odd can't be passed to Lua"):
        lua.compute("odd()")


def test_scripts_see_nothing_of_why_there_is_no_module() -> None:
    def find(name: str) -> str:
        raise luacell.LuaHostFunctionError("the module server is down") if name == "said" else ValueError(SECRET)

    lua = luacell.Sandbox(modules=find)
    assert lua.compute("return pcall(require, 'm')") == (False, "error loading module 'm':\n\tthe host could not provide it")
    assert lua.compute("return pcall(require, 'said')") == (False, "error loading module 'said':\n\tthe module server is down")
    with pytest.raises(luacell.LuaHostFunctionError) as caught:
        lua.compute("pcall(require, 'said') require 'm'")
    assert str(caught.value).endswith(SECRET) and isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(luacell.LuaHostFunctionError) as said:
        lua.compute("pcall(require, 'm') require 'said'")
    assert isinstance(said.value.__cause__, luacell.LuaHostFunctionError)


def test_scripts_see_nothing_of_why_the_store_fails() -> None:
    class Failing:
        broken = False

        def __init__(self) -> None:
            self.tables: dict[int, dict[str, bytes]] = {}

        def table(self, table: int) -> dict[str, bytes]:
            if self.broken:
                raise ConnectionError(f"no route to {SECRET}")
            return self.tables.setdefault(table, {})

        def get(self, table: int, key: str) -> bytes | None:
            return self.table(table).get(key)

        def set(self, table: int, key: str, value: bytes) -> None:
            self.table(table)[key] = value

        def delete(self, table: int, key: str) -> None:
            self.table(table).pop(key, None)

        def size(self, table: int) -> int:
            return len(self.table(table))

        def keys(self, table: int) -> list[str]:
            return list(self.table(table))

    store = Failing()
    lua = luacell.Sandbox(store=store)
    seen: list[str] = []
    lua.register("see", lambda *args: seen.append(str(args)))
    lua.register("breaks", lambda: setattr(store, "broken", True))
    lua.register("read", lambda: lua.home["y"])
    lua.register("open", lambda: luacell.Sandbox(store=store))
    for code in ("return _home.x", "read()", "open()"):
        store.broken = False
        with contextlib.suppress(luacell.LuaStoreError):
            lua.compute(f"breaks() see(pcall(function() {code} end))")
        assert "the store failed" in seen[-1] and "secret" not in seen[-1]
    store.broken = False
    with pytest.raises(luacell.LuaStoreError, match="no route to") as caught:
        lua.compute("breaks() return _home.x")
    assert isinstance(caught.value.__cause__, ConnectionError)


class Deeper(Mapping[str, Any]):
    """Has another one in it, whenever it is looked at."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["list"])

    def __getitem__(self, key: str) -> Any:
        return [1, Deeper()]


class Hook:
    def __lua__(self) -> Any:
        return [Hook()]


class Many(Sequence[None]):
    def __len__(self) -> int:
        return 10**12

    def __getitem__(self, at: Any) -> Any:
        return None

    def __iter__(self) -> Iterator[Any]:
        import itertools

        return itertools.repeat(None)


@dataclass
class Node:
    next: Any = field(default=None)


@pytest.mark.parametrize(
    ("odd", "place"),
    [
        (Deeper(), r"argument 1\['a'\]\[0\]\['list'\]\[1\]\['list'\]\[1\]\.\.\."),
        (Hook(), r"argument 1\['a'\]\[0\]\[0\]\[0\]\[0\]\[0\]\.\.\."),
        (Many(), r"argument 1\['a'\]\[0\]\[\d+\]"),
    ],
)
def test_objects_without_end_are_refused_and_where_they_are(odd: Any, place: str) -> None:
    lua = luacell.Sandbox()
    with pytest.raises(luacell.LuaConversionError, match=place) as caught:
        lua.compute("return ...", {"a": [odd]})
    assert len(str(caught.value)) < 500
    lua.register("odd", lambda: [odd])
    with pytest.raises(luacell.LuaCellError, match=r"new ones without end\? \(value\[0\]"):
        lua.compute("odd()")
    assert lua.compute("return 1") == 1


def test_deep_objects_that_end_are_passed() -> None:
    lua = luacell.Sandbox()
    node = Node()
    for _ in range(20_000):
        node = Node(node)
    assert lua.compute("local t, n = ..., 0 while t do t, n = t.next, n + 1 end return n", node) == 20_001


def test_functions_that_are_registered_for_a_while_leave_nothing() -> None:
    lua = luacell.Sandbox()

    class Handler:
        def __call__(self) -> int:
            return 1

    def use(i: int) -> None:
        lua.register("same", Handler())
        lua.register(f"request.r{i}", Handler())
        assert lua.compute(f"return same() + request.r{i}()") == 2
        lua.unregister(f"request.r{i}")

    for i in range(2000):
        use(i)
    gc.collect()
    assert sum(isinstance(thing, Handler) for thing in gc.get_objects()) <= 2
    assert len([function for function in lua._registered()]) == 1


def test_with_a_seed_nothing_depends_on_garbage_here() -> None:
    source = """
      local made = {} for i = 1, 50 do made[i] = function() return i end end
      for i = 1, 300 do _home['t' .. i] = {i} end
      local kept = {} for i = 1, 300 do kept[i] = _home['t' .. i] end
      print(collectgarbage('count'), tostring({}))
      collectgarbage()
      print(collectgarbage('count'), tostring({}), string.format('%p', made))
      for i = 1, 300 do _home['t' .. i] = nil end
      return made, kept"""

    def run(keeps: bool) -> list[str]:
        lua, kept, seen = luacell.Sandbox(seed=5), [], []
        for _ in range(20):
            results = lua.compute(source)
            seen.append(lua.outcome.output)
            if keeps:
                kept.append(results)
        return seen

    assert run(True) == run(False)


def test_deep_results_can_be_shown() -> None:
    lua = luacell.Sandbox()
    for source in ("local t = {} for i = 1, 1e5 do t = {t} end return t", "local t = {} for i = 1, 1e5 do t = {[t] = 1} end return t"):
        deep = lua.compute(source)
        with pytest.raises(RecursionError):
            repr(deep)
        with contextlib.suppress(RecursionError):
            assert deep == deep
        del deep
    lua.compute("local t = {} for i = 1, 1e5 do t = {t} end _home.t = t")
    assert "RecursionError" in repr(lua.home["t"])


def test_the_prompt_shows_deep_values_and_escapes_what_it_shows() -> None:
    lines = "local t = {} for i = 1, 1e5 do t = {[t] = 1} end return t\nerror('\\27[31mred \\u{9b}1m \\u{202e}')\n1 + 1\n"
    done = subprocess.run([sys.executable, "-m", "luacell"], input=lines, capture_output=True, text=True, check=True, encoding="utf-8")
    assert "nested too deeply" in done.stdout and r"\x1b[31mred \x9b1m \u202e" in done.stdout and "2\n" in done.stdout
    assert "\x1b" not in done.stdout
