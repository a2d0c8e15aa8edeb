"""Callables of Python as values in Lua."""

import asyncio
import functools
import gc
import weakref
from collections.abc import Callable
from typing import Any

import luacell
import pytest
from luacell import Sandbox


@pytest.fixture
def lua() -> Sandbox:
    sandbox = Sandbox()
    sandbox.compute("function apply(f, ...) return f(...) end  function same(...) return ... end")
    return sandbox


class Adder:
    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, x: int) -> int:
        return self.n + x

    def add(self, x: int) -> int:
        return self.n + x


def test_any_callable_is_a_function(lua: Sandbox) -> None:
    adder = Adder(2)
    functions: list[Callable[[int], int]] = [lambda x: x + 2, adder, adder.add, functools.partial(lambda a, b: a + b, 2), (2).__add__]
    for function in functions:
        assert lua.call("apply", function, 40) == 42
        assert lua.compute("local f = ... return type(f)", function) == "function"
    assert lua.call("apply", len, "four") == 4


def test_wherever_values_are(lua: Sandbox) -> None:
    def double(x: int) -> int:
        return 2 * x

    assert lua.call("same", {"f": double, "list": [double]}) == {"f": double, "list": [double]}
    lua.register("get", lambda: {"double": double, "again": double})
    assert lua.compute("local t = get() return t.double(4), t.double == t.again, t.double") == (8, True, double)


def test_it_comes_back_as_itself(lua: Sandbox) -> None:
    def one() -> None:
        pass

    assert lua.call("same", one) is one
    assert lua.call("same", one, one) == (one, one)
    lua.register("is_one", lambda f: f is one)
    assert lua.call("is_one", one) is True
    assert lua.call("is_one", lambda: None) is False


def test_functions_of_lua_are_keys(lua: Sandbox) -> None:
    handlers: dict[Any, bool] = {}
    lua.register("on", lambda f: handlers.__setitem__(f, True))
    lua.register("off", handlers.pop)
    lua.compute("function f() end on(f) on(f) off(f)")
    assert handlers == {}


def test_a_class_is_no_function(lua: Sandbox) -> None:
    with pytest.raises(luacell.LuaConversionError, match="pass a function that calls it"):
        lua.call("same", Adder)


def test_exceptions_come_out(lua: Sandbox) -> None:
    def fails() -> None:
        raise KeyError("secret")

    with pytest.raises(luacell.LuaHostFunctionError) as caught:
        lua.call("apply", fails)
    assert isinstance(caught.value.__cause__, KeyError)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lua.compute("while true do pcall(...) end", stop)
    assert lua.compute("return 1") == 1


def test_lua_lets_go_of_it(lua: Sandbox) -> None:
    class Owner:
        def call(self) -> int:
            return 1

    owner = Owner()
    gone = weakref.ref(owner)
    assert lua.compute("kept = ... return kept()", owner.call) == 1
    del owner
    gc.collect()
    assert gone() is not None
    lua.compute("kept = nil")
    lua.gc()
    gc.collect()
    assert gone() is None


class Game:
    """Its sandbox holds a method of it: a circle."""

    def __init__(self) -> None:
        self.lua = Sandbox()
        self.lua.compute("on_tick = ...", self.tick)

    def tick(self) -> int:
        return 5


def test_a_circle_through_lua_is_collected() -> None:
    game = Game()
    assert game.lua.compute("return on_tick()") == 5
    gone = weakref.ref(game)
    del game
    gc.collect()
    assert gone() is None


def test_what_is_held_elsewhere_is_not_collected() -> None:
    snapshot = Game().lua.snapshot()
    gc.collect()
    other = Sandbox()
    other.restore(snapshot)
    assert other.compute("return on_tick()") == 5


def test_forks_have_it(lua: Sandbox) -> None:
    lua.compute("kept = ...", lambda: 7)
    fork = lua.fork()
    lua.close()
    assert fork.compute("return kept()") == 7
    with pytest.raises(luacell.LuaConversionError, match="no name"):
        fork.snapshot().to_bytes()
    with pytest.raises(luacell.LuaCellError, match="can't store"):
        fork.compute("_home.f = kept")


def test_asyncio(lua: Sandbox) -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    async def main() -> None:
        assert await lua.compute_async("local f, x = ... return f(x) + f(x)", later, 1) == 4

    asyncio.run(main())
    with pytest.raises(luacell.LuaHostFunctionError, match="compute_async"):
        lua.call("apply", later, 1)


def test_it_may_use_the_sandbox(lua: Sandbox) -> None:
    assert lua.call("apply", lambda: lua.compute("return apply(function() return 3 end)")) == 3


def test_limits_count_it() -> None:
    lua = Sandbox(host_call_limit=10)
    with pytest.raises(luacell.LuaHostCallLimitError):
        lua.compute("local f = ... while true do pcall(f) end", lambda: None)


def test_many_at_once(lua: Sandbox) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    class One:
        def __call__(self) -> int:
            return 1

    def make() -> One:
        one = One()
        alive.add(one)
        return one

    lua.register("make", make)
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, len(alive))

    lua.compute("local look = ... for i = 1, 20000 do make()() look() end", look)
    assert most < 5000
