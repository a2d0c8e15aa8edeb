"""Values there and back."""

from __future__ import annotations

import copy
import dataclasses
import enum
import itertools
import math
import pickle
import signal
from collections import OrderedDict, UserDict, UserList, deque, namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luacell

LUA = luacell.Sandbox()


def there_and_back(value: Any) -> Any:
    return LUA.compute("return ...", value)


integers = st.integers(-(2**63), 2**63 - 1)
keys = st.one_of(integers, st.text(max_size=8), st.floats(allow_nan=False).filter(lambda x: not x.is_integer()))
plain = st.one_of(st.booleans(), integers, st.floats(allow_nan=False), st.text(), st.binary())


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = inner.filter(lambda value: value is not None)
    return st.lists(some, max_size=6) | st.dictionaries(keys, some, max_size=6)


def as_lua_sees_it(value: Any, kept: bool = False) -> Any:
    """Bytes that are UTF-8 come back as text. A kept table is a list if it has the keys 1 to n, whatever it was."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, list):
        return {} if kept and not value else [as_lua_sees_it(item, kept) for item in value]
    if isinstance(value, dict):
        if kept and value and set(value) == set(range(1, len(value) + 1)):
            return [as_lua_sees_it(value[at], kept) for at in range(1, len(value) + 1)]
        return {key: as_lua_sees_it(item, kept) for key, item in value.items()}
    return value


def exactly(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(exactly, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(exactly(item, b[key]) for key, item in a.items())
    return bool(a == b)


@given(st.recursive(plain, containers, max_leaves=20))
@settings(max_examples=300, deadline=None)
def test_values_survive(value: Any) -> None:
    assert exactly(there_and_back(value), as_lua_sees_it(value))
    LUA.input = value
    stored = LUA.input
    if isinstance(stored, luacell.Table):
        stored = stored.to_python()
    assert exactly(stored, as_lua_sees_it(value, kept=True))


@given(st.lists(plain, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_host_function_gets_what_lua_has(values: list[Any]) -> None:
    got: list[Any] = []
    LUA.register("keep", lambda *args: got.extend(args))
    LUA.compute("keep(...)", *values)
    assert exactly(got, [as_lua_sees_it(value) for value in values])


def test_none_and_several_results() -> None:
    assert LUA.compute("") is None
    assert LUA.outcome.count == 0
    assert LUA.compute("return nil") is None
    assert LUA.outcome.count == 1
    assert LUA.compute("return 1, nil, 'x'") == (1, None, "x")
    assert there_and_back([]) == []
    assert there_and_back([1, None, 3]) == [1, None, 3]


def test_integers_end_at_64_bits() -> None:
    assert there_and_back(2**63 - 1) == 2**63 - 1
    for number in (2**63, -(2**63) - 1, 10**100):
        with pytest.raises(luacell.LuaConversionError, match="does not fit"):
            there_and_back(number)
        with pytest.raises(luacell.LuaConversionError, match=r"argument 1\['a'\]\[1\]"):
            there_and_back({"a": [0, number]})


def test_three_and_three_point_zero_are_two() -> None:
    assert type(there_and_back(3)) is int
    assert type(there_and_back(3.0)) is float


def test_cycles_and_sharing() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    back = there_and_back(cycle)
    assert back[1] is back
    shared = {"x": 1}
    a, b = LUA.compute("return ...", {"left": shared, "right": shared}, shared)
    assert a["left"] is a["right"] is b
    assert LUA.compute("local a, b = ... return a.left == b", {"left": shared}, shared) is True
    equal = LUA.compute("local t = ... return t[1] == t[2]", [{}, {}])
    assert equal is False
    a = LUA.compute("local t = {} t.t = t return t")
    assert a["t"] is a


def test_deep_values() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert LUA.compute("local n, t = 0, ... while t[1] do n, t = n + 1, t[1] end return n", value) == 100_000
    back = LUA.compute("local t = {} for i = 1, 100000 do t = {t} end return t")
    depth = 0
    while back:
        back, depth = back[0], depth + 1
    assert depth == 100_000


class Lazy(Sequence[int]):
    """A sequence that gives other numbers of items than it says."""

    def __init__(self, says: int, gives: int | None) -> None:
        self.says, self.gives = says, gives

    def __len__(self) -> int:
        return self.says

    def __getitem__(self, at: Any) -> Any:
        if self.gives is not None and at >= self.gives:
            raise IndexError
        return at


class LazyMapping(Mapping[int, int]):
    def __init__(self, says: int, gives: int | None) -> None:
        self.sequence = Lazy(says, gives)

    def __len__(self) -> int:
        return len(self.sequence)

    def __iter__(self) -> Iterator[int]:
        return iter(self.sequence)

    def __getitem__(self, key: int) -> int:
        return key


@pytest.mark.parametrize("kind", (Lazy, LazyMapping))
def test_containers_are_as_long_as_they_say(kind: Callable[[int, int | None], Any]) -> None:
    for length in (0, 1, 4095, 4096, 4097, 10_000):
        assert len(there_and_back(kind(length, length))) == length
        with pytest.raises(luacell.LuaConversionError, match=rf"len\(\) is {length} gives more items \(argument 1"):
            there_and_back(kind(length, None))
        with pytest.raises(luacell.LuaConversionError, match=f"len.. is {length + 1} gives only {length} items"):
            there_and_back(kind(length + 1, length))
    lua = luacell.Sandbox()
    lua.register("endless", lambda: [kind(3, None)])
    with pytest.raises(luacell.LuaCellError, match="gives more items"):
        lua.compute("endless()")


@pytest.mark.parametrize("kind", (Lazy, LazyMapping))
def test_ctrl_c_in_a_conversion(kind: Callable[[int, int | None], Any]) -> None:
    """Signals of the process itself come when the interpreter looks for them."""
    value = kind(2**62, None)
    sequence = value if kind is Lazy else value.sequence
    plain = type(sequence).__getitem__
    steps = 0

    class Interrupted(type(sequence)):  # type: ignore[misc]
        def __getitem__(self, at: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == 1000:
                signal.raise_signal(signal.SIGINT)
            return plain(self, at)

    sequence.__class__ = Interrupted
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            there_and_back(value)
    finally:
        signal.signal(signal.SIGINT, before)
    assert there_and_back(1) == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")
def test_ctrl_c_while_native_code_makes_the_items() -> None:
    class Endless(Lazy):
        def __iter__(self) -> Iterator[Any]:
            return itertools.repeat(None)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            there_and_back(Endless(2**62, None))
    finally:
        signal.signal(signal.SIGALRM, before)


def test_bytes_of_all_kinds() -> None:
    for value in (b"\xff\0", bytearray(b"\xff\0"), memoryview(b"\xff\0"), memoryview(b"\0\xff")[::-1]):
        assert there_and_back(value) == b"\xff\0"
    with pytest.raises(luacell.LuaConversionError, match="surrogates"):
        there_and_back("\ud800")


class Colour(enum.IntEnum):
    RED = 3


class Text(str):
    pass


class Numbers(UserList[int]):
    pass


@dataclasses.dataclass
class Item:
    name: str
    price: float
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Order:
    items: list[Item]
    note: str | None = None


class Model(pydantic.BaseModel):
    id: int
    items: list[str]


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __lua__(self) -> dict[str, int]:
        return {"cents": self.cents}


Point = namedtuple("Point", "x y")


def test_other_types_go_in() -> None:
    assert there_and_back(True) is True
    assert there_and_back(Colour.RED) == 3
    assert there_and_back(Text("x")) == "x"
    assert there_and_back((1, (2, 3))) == [1, [2, 3]]
    assert there_and_back(Point(1, 2)) == [1, 2]
    assert there_and_back(Numbers([1, 2])) == [1, 2]
    assert there_and_back(range(3)) == [0, 1, 2]
    assert there_and_back(deque([1, 2])) == [1, 2]
    assert there_and_back(OrderedDict(a=1)) == {"a": 1}
    assert there_and_back(UserDict(a={"b": 1})) == {"a": {"b": 1}}
    assert there_and_back({(1, 2): "pair"}) == luacell.Entries([([1, 2], "pair")])
    assert there_and_back({True: 1, 2.5: 2, b"\xff": 3}) == {True: 1, 2.5: 2, b"\xff": 3}


def test_dataclasses_and_models() -> None:
    order = Order([Item("tea", 3.5, ["hot"]), Item("cake", 2.0)])
    assert there_and_back(order) == {"items": [{"name": "tea", "price": 3.5, "tags": ["hot"]}, {"name": "cake", "price": 2.0, "tags": []}]}
    assert there_and_back(Model(id=7, items=["a"])) == {"id": 7, "items": ["a"]}
    assert there_and_back([Money(5)]) == [{"cents": 5}]


def test_converters() -> None:
    with pytest.raises(luacell.LuaConversionError, match=r"type complex .* luacell\.converter .*\(argument 1\['x'\]\)"):
        there_and_back({"x": 1j})
    assert there_and_back(print) is print

    @luacell.converter(Decimal)
    def _(number: Decimal) -> str:
        return str(number)

    assert there_and_back({"x": Decimal("1.50")}) == {"x": "1.50"}

    @luacell.converter(Fraction)
    def _(number: Fraction) -> Fraction:
        return number

    with pytest.raises(luacell.LuaConversionError, match="without end"):
        there_and_back(Fraction(1, 3))


def test_a_converter_may_change_what_is_being_passed() -> None:
    victim: list[Any] = []

    class Evil:
        def __lua__(self) -> int:
            victim.clear()
            return 1

    victim.extend([Evil(), 2, 3])
    assert LUA.compute("return ...", victim) == [1, None, None]
    table: dict[str, Any] = {}

    class Worse:
        def __lua__(self) -> int:
            table.clear()
            return 1

    table.update(a=Worse(), b=2)
    assert there_and_back(table) == {"a": 1, "b": 2}


def test_numpy() -> None:
    for value in (numpy.int64(5), numpy.uint8(5), numpy.bool_(True), numpy.float64(0.5), numpy.float32(0.5), numpy.str_("x")):
        back = there_and_back(value)
        assert back == value and type(back) in (int, bool, float, str)
    assert there_and_back(numpy.arange(3)) == [0, 1, 2]
    assert there_and_back(numpy.array([[1.5], [2.5]])) == [[1.5], [2.5]]
    with pytest.raises(luacell.LuaConversionError):
        there_and_back(numpy.longdouble(1))


def test_keys_that_no_table_has() -> None:
    for key in (None, math.nan):
        with pytest.raises(luacell.LuaConversionError, match="can't be keys"):
            there_and_back({key: 1})


def test_keys_that_python_takes_for_one() -> None:
    both = LUA.compute("return {[true] = 'b', [1] = 'a'}")
    assert isinstance(both, luacell.Entries) and [(type(key), item) for key, item in both] == [(int, "a"), (bool, "b")]
    assert LUA.compute("local t = ... return t[1], t[true]", both) == ("a", "b")
    key, item = LUA.compute("local t = {} return {[t] = {t}}")[0]
    assert item[0] is key
    assert LUA.compute("local k, v = next(...) return k == v[1]", luacell.Entries([(key, item)])) is True
    assert repr(both).startswith("Entries([")
    for wrong in (5, (1,), (1, 2, 3)):
        with pytest.raises((TypeError, ValueError)):
            LUA.compute("return ...", luacell.Entries([wrong]))


def test_functions() -> None:
    add = LUA.compute("local n = 0 return function(a) n = n + a return n end")
    assert isinstance(add, luacell.Function)
    assert (add(2), add(3)) == (2, 5)
    assert LUA.compute("local f = ... return f(1)", add) == 6
    upper = LUA.compute("return string.upper")
    assert upper("x") == "X" and upper.builtin_name == "string.upper" and "string.upper" in repr(upper)
    assert upper == LUA.compute("return string.upper") and upper != add and len({upper, add, upper}) == 2
    with pytest.raises(luacell.LuaInvalidArgumentError):
        luacell.Sandbox().compute("return ...", add)


def test_what_python_code_raises_comes_out() -> None:
    class Broken:
        def __lua__(self) -> int:
            raise ZeroDivisionError("broken")

    class Endless:
        def __iter__(self) -> Iterator[int]:
            raise AssertionError

    with pytest.raises(ZeroDivisionError, match="broken"):
        there_and_back([Broken()])
    with pytest.raises(luacell.LuaConversionError):
        there_and_back(Endless())


def test_lists_and_dicts_stay_what_they_are() -> None:
    values: list[Any] = [[], {}, [1, None, 3], [None], [1, None], {1: "a", 2: "b"}, [[], {}, [[]]], {"a": [], "b": {}}, ()]
    for value in values:
        assert LUA.compute("return ...", value) == (list(value) if isinstance(value, tuple) else value)
    assert LUA.compute("local t = ... t[#t + 1] = 1 return t", []) == [1]
    assert LUA.compute("local t = ... return t.n, t[2], t[3]", [1, None, 3]) == (3, None, 3)
    assert LUA.compute("local t = ... return t.n", [1, 2]) is None
    assert LUA.compute("local t = ... t.x = 1 return t", [1]) == {1: 1, "x": 1}
    assert LUA.compute("return {}, {1, 2}, require('json').array {}") == ({}, [1, 2], [])
    assert LUA.compute("return require('json').encode(...)", [[], {}, [1, None], {1: "a"}]) == '[[],{},[1,null],{"1":"a"}]'


def test_null() -> None:
    json = "local json = require('json') "
    assert LUA.compute(json + "local t = ... return #t, t[2] == json.null, t", [1, luacell.null, 3]) == (3, True, [1, None, 3])
    assert LUA.compute(json + "return ... == json.null, type(...), json.null", luacell.null) == (True, "userdata", None)
    assert LUA.compute(json + "return json.decode('{\"a\": null, \"b\": [null]}')") == {"a": None, "b": [None]}
    assert LUA.compute(json + "return json.encode {...}", luacell.null) == "[null]"
    assert not luacell.null and luacell.null == None and None == luacell.null and luacell.null != 0  # noqa: E711
    assert pickle.loads(pickle.dumps(luacell.null)) is luacell.null and copy.deepcopy(luacell.null) is luacell.null
    assert repr(luacell.null) == "luacell.null" and {None: 1}[luacell.null] == 1
    LUA.compute(json + "_home.n = {x = json.null}")
    assert LUA.compute(json + "return _home.n.x == json.null, _home.n.x") == (True, None)
    assert LUA.home["n"]["x"] is None
