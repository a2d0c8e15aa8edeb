"""Values and settings arrive as they are, or give an error of luacell's that names the place."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any

import luacell
import pytest
from luacell import Sandbox


def test_ints_that_do_not_fit_are_named_with_their_place() -> None:
    lua = Sandbox()
    for value, place in [
        (2**63, r"9223372036854775808 .*\(argument 1\)"),
        (-(2**63) - 1, r"-9223372036854775809 .*\(argument 1\)"),
        ([1, 2**63], r"9223372036854775808 .*\(argument 1\[1\]\)"),
        ({"a": {"b": 10**40}}, r"an int of 133 bits .*\(argument 1\['a'\]\['b'\]\)"),
        ({2**64: 1}, r"18446744073709551616 .*\(argument 1\[18446744073709551616\]\)"),
        (10**10000, r"an int of 33220 bits .*\(argument 1\)"),
    ]:
        with pytest.raises(luacell.LuaConversionError, match=place):
            lua.compute("return ...", value)
    with pytest.raises(luacell.LuaConversionError, match=r"\(argument 2\)"):
        lua.compute("return ...", 1, 2**63)
    with pytest.raises(luacell.LuaConversionError, match=r"\(value\)"):
        lua.input = 2**63
    with pytest.raises(luacell.LuaConversionError, match=r"\(value\)"):
        lua.home["x"] = 2**63
    lua.register("large", lambda: 2**63)
    with pytest.raises(luacell.LuaHostFunctionError, match="9223372036854775808"):
        lua.compute("large()")
    assert lua.compute("return ...", 2**63 - 1, -(2**63)) == (2**63 - 1, -(2**63))


def test_keys_that_are_one_in_lua_are_refused() -> None:
    lua = Sandbox()
    for value, place in [
        ({"a": 1, b"a": 2}, r"b'a' is there as text and as bytes.*\(argument 1\)"),
        ([{"x": {b"k": 1, "k": 2}}], r"\(argument 1\[0\]\['x'\]\)"),
    ]:
        with pytest.raises(luacell.LuaConversionError, match=place):
            lua.compute("return ...", value)
        with pytest.raises(luacell.LuaConversionError, match=r"text and as bytes"):
            lua.input = value
        with pytest.raises(luacell.LuaConversionError, match=r"text and as bytes"):
            lua.home["x"] = value
    # What only Lua can tell is found there.
    entries = luacell.Entries([(1, "a"), (1.0, "b")])
    with pytest.raises(luacell.LuaConversionError, match=r"same key \(value 1\[1\.0\]\)"):
        lua.compute("return ...", entries)
    with pytest.raises(luacell.LuaConversionError, match=r"same key \(value 2\[2\]\.x\[1\.0\]\)"):
        lua.compute("return ...", 0, [0, {"x": entries}])
    with pytest.raises(luacell.LuaConversionError, match="same key"):
        lua.input = entries
    assert lua.compute("local t = ... return t[1], t[true], t['1']", luacell.Entries([(1, "a"), (True, "b"), ("1", "c")])) == ("a", "b", "c")


BAD = "x\ud800"


def test_lone_surrogates_are_conversion_errors_with_their_place() -> None:
    lua = Sandbox()
    anything: Any = BAD
    acts: dict[str, Callable[[], object]] = {
        "source": lambda: lua.compute(BAD),
        "name": lambda: lua.compute("return 1", name=BAD),
        "path": lambda: lua.call(BAD),
        "argument 1": lambda: lua.compute("return 1", BAD),
        "argument 1\\['a'\\]": lambda: lua.compute("return 1", {"a": BAD}),
        "value": lambda: lua.home.__setitem__("x", BAD),
        "timeout": lambda: lua.compute("return 1", timeout=anything),
        "memory_limit": lambda: Sandbox(memory_limit=BAD),
        "a name in modules": lambda: Sandbox(modules={BAD: "return 1"}),
        "the module m": lambda: Sandbox(modules={"m": BAD}),
        "store": lambda: Sandbox(store=BAD),
        "max_memory": lambda: luacell.Engine(max_memory=BAD),
    }
    for place, act in acts.items():
        with pytest.raises(luacell.LuaConversionError, match=rf"surrogates.*\({place}\)"):
            act()
    registers: list[Callable[[], object]] = [lambda: lua.register(BAD, len), lambda: lua.unregister(BAD)]
    for register in registers:
        with pytest.raises(luacell.LuaConversionError, match=r"surrogates.*\(name\)"):
            register()
    runs: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: lua.compute_async(BAD),
        lambda: lua.compute_async("return 1", name=BAD),
        lambda: lua.call_async(BAD),
    ]
    for run in runs:
        with pytest.raises(luacell.LuaConversionError, match="surrogates"):
            asyncio.run(run())
    lua.register("bad", lambda: BAD)
    with pytest.raises(luacell.LuaHostFunctionError, match="surrogates"):
        lua.compute("bad()")
    found = Sandbox(modules=lambda name: BAD)
    with pytest.raises(luacell.LuaHostFunctionError, match="surrogates"):
        found.compute("require 'm'")


def test_settings_that_make_no_sense_are_named() -> None:
    settings: dict[str, Any]
    for settings in (
        {"seed": -1},
        {"seed": 2**64},
        {"conflict_retries": -1},
        {"conflict_retries": 2**32},
        {"seed": float("inf")},
        {"seed": float("nan")},
        {"seed": "7"},
        {"conflict_retries": float("inf")},
        {"conflict_retries": 1.5},
        {"timeout": float("nan")},
        {"timeout": float("-inf")},
        {"timeout": float("inf")},
        {"claim_term": float("inf")},
        {"claim_term": float("nan")},
        {"claim_term": -1},
        {"timeout": -1},
        {"timeout": 10**400},
        {"timeout": 10**10000},
        {"timeout": "soon"},
        {"timeout": []},
        {"memory_limit": -1},
        {"memory_limit": 2**64},
        {"memory_limit": 1.5},
        {"memory_limit": "much"},
        {"instruction_limit": -1},
        {"instruction_limit": 2**64},
        {"output_limit": -1},
        {"store_limit": float("inf")},
        {"store_entries": -1},
        {"host_call_limit": "many"},
        {"source_limit": -1},
    ):
        (name,) = settings
        anything: Any = settings
        with pytest.raises(luacell.LuaInvalidArgumentError, match=f"^{name}: "):
            Sandbox(**anything)
        if name not in ("seed", "conflict_retries", "claim_term"):
            with pytest.raises(luacell.LuaInvalidArgumentError, match=f"^{name}: "):
                Sandbox().compute("return 1", **anything)
    engine: dict[str, Any]
    for engine in (
        {"pool_size": -1},
        {"pool_size": 2**32},
        {"pool_size": float("inf")},
        {"max_memory": -1},
        {"max_memory": 2**64},
        {"max_memory": float("inf")},
    ):
        (name,) = engine
        anything = engine
        with pytest.raises(luacell.LuaInvalidArgumentError, match=f"^{name}: "):
            luacell.Engine(**anything)
    for max_memory in (0, 1, 2**20, 2**33):
        with pytest.raises(luacell.LuaInvalidArgumentError, match="max_memory"):
            luacell.Engine(pool_size=0, max_memory=max_memory)
    assert Sandbox(seed=2**64 - 1, conflict_retries=0, timeout=1e300).compute("return 1") == 1


def test_a_converter_is_for_a_class() -> None:
    anything: Any = "x"
    with pytest.raises(luacell.LuaInvalidArgumentError, match="'x'"):
        luacell.converter(anything)
    with pytest.raises(luacell.LuaInvalidArgumentError, match=r"converter\(complex\)"):
        luacell.converter(complex)(anything)


class Tenant(Sandbox):
    __slots__ = ("__secret", "label")

    def __init__(self, name: str, label: str) -> None:
        super().__init__()
        self.label = label
        self.__secret = name * 2

    def __new__(cls, name: str, label: str) -> Tenant:
        return super().__new__(cls, timeout=5)

    @property
    def secret(self) -> str:
        return self.__secret


class Named(Tenant):
    def __init__(self, name: str) -> None:
        super().__init__(name, "named")
        self.name = name
        self.register("name", lambda: self.name)

    def __new__(cls, name: str) -> Named:
        return Sandbox.__new__(cls, timeout=5)


def test_a_fork_of_a_subclass_is_one_of_it() -> None:
    lua = Named("ada")
    lua.compute("n = 7")
    fork = lua.fork()
    assert type(fork) is Named
    assert (fork.name, fork.label, fork.secret) == ("ada", "named", "adaada")
    assert fork.compute("n = n + 1 return n, name()") == (8, "ada")
    assert lua.compute("return n") == 7
    fork.name = "grace"
    assert lua.name == "ada"
    plain = Tenant("x", "y").fork()
    assert (type(plain), plain.label, plain.secret) == (Tenant, "y", "xx")
    with pytest.raises(TypeError):
        copy.copy(lua)
