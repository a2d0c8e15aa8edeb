"""The sandbox."""

from __future__ import annotations

import contextlib
import datetime
import functools
import gc
import inspect
import os
import pickle
import pydoc
import re
import types
import weakref
from pathlib import Path
from typing import Any

import pytest

import luacell


@pytest.fixture
def lua() -> luacell.Sandbox:
    return luacell.Sandbox()


def test_the_first_example() -> None:
    with luacell.Sandbox(memory_limit="64MiB", timeout=0.5) as lua:
        assert lua.compute("return 1 + 1") == 2
    assert lua.closed and repr(lua) == "<luacell.Sandbox closed>"
    with pytest.raises(luacell.LuaClosedError):
        lua.compute("return 1")


def test_arguments_and_names(lua: luacell.Sandbox) -> None:
    assert lua.compute("local a, b = ... return a * b", 6, 7, name="=product") == 42
    assert lua.compute(b"return '\xff'") == b"\xff"
    with pytest.raises(TypeError):
        lua.compute(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'memory'"):
        lua.compute("return 1", memory=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'memory'"):
        luacell.Sandbox(memory=1)  # type: ignore[call-arg]


def test_call(lua: luacell.Sandbox) -> None:
    lua.compute("game = {player = {}} function game.player.move(x, y) return x + 1, y + 1 end")
    assert lua.call("game.player.move", 1, 2) == (2, 3)
    with pytest.raises(luacell.LuaRuntimeError):
        lua.call("game.player.jump")


def test_limits_of_the_sandbox_and_of_a_run() -> None:
    lua = luacell.Sandbox(instruction_limit=100_000, output_limit=10, host_call_limit=2, store_entries=2, source_limit="1KiB")
    lua.register("f", lambda: None)
    for source, error in (
        ("while true do end", luacell.LuaInstructionLimitError),
        ("print(('x'):rep(20))", luacell.LuaOutputLimitError),
        ("f() f() f()", luacell.LuaHostCallLimitError),
        ("for i = 1, 3 do _home[i] = i end", luacell.LuaStoreLimitError),
        ("--" + "x" * 2000, luacell.LuaInvalidArgumentError),
    ):
        with pytest.raises(error):
            lua.compute(source)
    assert lua.compute("for i = 1, 1e6 do end print(('x'):rep(20)) f() f() f() return 1", instruction_limit=None, output_limit="1k", host_call_limit=None) == 1
    with pytest.raises(luacell.LuaTimeoutError):
        lua.compute("while true do end", instruction_limit=None, timeout=datetime.timedelta(milliseconds=20))
    with pytest.raises(luacell.LuaTimeoutError):
        lua.compute("while true do end", instruction_limit=None, timeout="20ms")
    for wrong in ("soon", -1.0, float("nan")):
        with pytest.raises(luacell.LuaInvalidArgumentError):
            luacell.Sandbox(timeout=wrong)
    with pytest.raises(luacell.LuaInvalidArgumentError):
        luacell.Sandbox(instruction_limit=-1)
    assert luacell.Sandbox(timeout=None, memory_limit=None).compute("return 1") == 1
    # What is too long to say is no limit.
    for long in (1e300, 1e15, datetime.timedelta.max):
        assert luacell.Sandbox(timeout=long).compute("return 1", timeout=long) == 1


def test_host_functions(lua: luacell.Sandbox) -> None:
    @lua.function
    def price(article: str, count: int = 1) -> float:
        return {"tea": 3.5}[article] * count

    assert price("tea") == 3.5
    assert lua.compute("return price('tea', 2)") == 7.0

    @lua.function("shop.open", repeatable=True)
    def is_open() -> tuple[bool, str]:
        return True, "since nine"

    assert lua.compute("return shop.open()") == (True, "since nine")
    lua.register("shop.add", functools.partial(lambda a, b: a + b, 40))
    assert lua.compute("return shop.add(2)") == 42
    assert lua.functions == ["price", "shop.add", "shop.open"]
    assert lua.unregister("price") and not lua.unregister("price")
    assert lua.compute("return price") is None
    with pytest.raises(luacell.LuaInvalidArgumentError):
        lua.register("no name", print)
    assert lua.compute("return select('#', shop.open())") == 2
    lua.register("nothing", lambda: None)
    lua.register("none", lambda: ())
    assert lua.compute("return select('#', nothing()), select('#', none())") == (1, 0)


def test_a_host_function_uses_its_sandbox(lua: luacell.Sandbox) -> None:
    @lua.function
    def twice(function: luacell.Function) -> object:
        lua.home["calls"] = lua.home.get("calls", 0) + 1
        return function(function(lua.compute("return 1")))

    assert lua.compute("return twice(function(n) return n * 10 end)") == 100
    assert lua.home["calls"] == 1


def test_print(lua: luacell.Sandbox) -> None:
    lua.compute("print('a', 1) print('\\xff')")
    assert lua.outcome.output == "a\t1\n\\xff\n"
    pieces: list[str] = []
    printing = luacell.Sandbox(on_print=pieces.append)
    printing.compute("print('a') print('b\\xff')")
    assert pieces == ["a\n", "b\\xff\n"] and printing.outcome.output == ""

    def fail(text: str) -> None:
        raise ZeroDivisionError(text)

    with pytest.raises(ZeroDivisionError, match="hi"):
        luacell.Sandbox(on_print=fail).compute("print('hi') while true do end")


def test_outcome_and_metrics(lua: luacell.Sandbox) -> None:
    lua.register("f", lambda: 1)
    lua.compute("print('x') f() return 1, 2")
    outcome = lua.outcome
    assert (outcome.count, outcome.output, outcome.metrics.host_calls) == (2, "x\n", 1)
    assert outcome.metrics.instructions > 0 and outcome.metrics.peak_memory > 0 and outcome.metrics.wall_time > 0
    assert "count=2" in repr(outcome) and "host_calls=1" in repr(outcome.metrics)
    assert pickle.loads(pickle.dumps(outcome.metrics)) == outcome.metrics
    assert lua.memory_stats().lua_bytes > 0 and "lua_bytes=" in repr(lua.memory_stats())


def test_input_output_meta(lua: luacell.Sandbox) -> None:
    lua.input = {"items": [1, 2, 3]}
    lua.meta = "today"
    lua.compute("_io.output = {sum = _io.input.items[1] + _io.input.items[3], when = _io.meta}")
    assert lua.output == {"sum": 4, "when": "today"}
    assert lua.output.to_python() == {"sum": 4, "when": "today"}
    lua.clear_io()
    assert lua.input is None and lua.output is None and lua.meta is None


def test_modules(lua: luacell.Sandbox, tmp_path: Path) -> None:
    (tmp_path / "shapes.lua").write_text("return {corners = 4}")
    source = "return require('shapes').corners"
    sources: dict[str, str | bytes] = {"shapes": "return {corners = 4}"}
    assert luacell.Sandbox(modules=sources).compute(source) == 4
    assert luacell.Sandbox(modules=tmp_path).compute(source) == 4
    assert luacell.Sandbox(modules=str(tmp_path)).compute(source) == 4
    assert luacell.Sandbox(modules=sources.get).compute(source) == 4
    with pytest.raises(luacell.LuaRuntimeError, match="shapes"):
        luacell.Sandbox(modules=lambda name: None).compute(source)
    with pytest.raises(luacell.LuaHostFunctionError, match="broken") as caught:
        luacell.Sandbox(modules=lambda name: str(int("broken"))).compute(source)
    assert isinstance(caught.value.__cause__, ValueError)


def test_seed_makes_runs_repeatable() -> None:
    source = "return math.random(), os.time(), tostring({})"
    assert luacell.Sandbox(seed=7).compute(source) == luacell.Sandbox(seed=7).compute(source)
    assert luacell.Sandbox(seed=7).compute(source) != luacell.Sandbox(seed=8).compute(source)


def test_engine() -> None:
    engine = luacell.Engine(pool_size=2, max_memory="64MiB")
    boxes = [luacell.Sandbox(engine=engine) for _ in range(4)]
    assert [box.compute("return 1") for box in boxes] == [1] * 4
    assert engine.is_pooled and "pooled=True" in repr(engine)
    assert not luacell.Engine(pool_size=0).is_pooled


def test_reset_and_gc(lua: luacell.Sandbox) -> None:
    lua.register("f", lambda: 5)
    lua.compute("x = 1 _home.x = 2")
    function = lua.compute("return function() end")
    lua.reset()
    assert lua.compute("return x, _home.x, f()") == (None, 2, 5)
    with pytest.raises(luacell.LuaClosedError):
        function()
    lua.gc()
    assert lua.table_count() is not None


def test_snapshot_restore_fork(lua: luacell.Sandbox) -> None:
    lua.register("price", lambda: 3.5)
    lua.compute("n = 0 function count() n = n + 1 return n end _home.x = {1}")
    lua.call("count")
    snapshot = lua.snapshot()
    assert lua.call("count") == 2
    lua.restore(snapshot)
    assert lua.call("count") == 2
    other = luacell.Sandbox()
    other.restore(pickle.loads(pickle.dumps(snapshot)))
    assert other.call("count") == 2 and other.home == {"x": [1]}
    assert luacell.Snapshot.from_bytes(snapshot.to_bytes()).to_bytes() == snapshot.to_bytes()
    assert repr(snapshot).startswith("<luacell.Snapshot")
    with pytest.raises(luacell.LuaInvalidArgumentError):
        luacell.Snapshot.from_bytes(b"nothing")
    fork = lua.fork()
    assert fork.call("count") == 3 and lua.call("count") == 3 and fork.compute("return price()") == 3.5


def test_a_fork_is_as_large_as_its_sandbox() -> None:
    """Whatever a run was allowed."""
    lua = luacell.Sandbox(memory_limit="2MiB")
    lua.compute("x = ('x'):rep(12000000)", memory_limit="64MiB")
    assert lua.fork().compute("return #x", memory_limit="64MiB") == 12_000_000
    with pytest.raises(luacell.LuaMemoryError):
        luacell.Sandbox(memory_limit="2MiB").restore(lua.snapshot())


def test_a_fork_has_the_same_settings() -> None:
    pieces: list[str] = []

    class Mine(luacell.Sandbox):
        pass

    lua = Mine(on_print=pieces.append, instruction_limit=100_000)
    fork = lua.fork()
    assert type(fork) is Mine
    lua.close()
    fork.compute("print('x')")
    assert pieces == ["x\n"]
    with pytest.raises(luacell.LuaInstructionLimitError):
        fork.compute("while true do end")


def test_export_and_import_of_home(lua: luacell.Sandbox) -> None:
    lua.home["a"] = {"b": [1, 2]}
    other = luacell.Sandbox()
    other.import_home(lua.export_home())
    assert other.home == {"a": {"b": [1, 2]}}


def test_functions_are_imported_from_trusted_sources_only(lua: luacell.Sandbox) -> None:
    lua.compute("_home.f = function() return 7 end")
    other = luacell.Sandbox()
    with pytest.raises(luacell.LuaInvalidArgumentError, match="trusted"):
        other.import_home(lua.export_home())
    other.import_home(lua.export_home(), trusted=True)
    assert other.compute("return _home.f()") == 7


def test_a_store_keeps_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "state.luacell"
    template = luacell.Sandbox()
    template.compute("function decide(x) _home.n = (_home.n or 0) + 1 return x * 2, _home.n end _home.name = 'template'")
    snapshot = template.snapshot()
    with luacell.Sandbox(store=file) as lua:
        lua.compute("_home.orders = {1, 2, 3} _home.name = 'ada'")
        lua.restore(snapshot)
        assert lua.home == {"orders": [1, 2, 3], "name": "ada"}
        assert lua.call("decide", 2) == (4, 1)
        lua.restore(snapshot, tables=True)
        assert lua.home == {"name": "template"}
    template.compute("held = ext.table()")
    with luacell.Sandbox(store=file) as lua, pytest.raises(luacell.LuaInvalidArgumentError, match="kept tables"):
        lua.restore(template.snapshot())


def test_functions_of_a_store_that_others_write_to(tmp_path: Path) -> None:
    file = tmp_path / "state.luacell"
    with luacell.Sandbox(store=file) as lua:
        lua.compute("_home.f, _home.x = function() return 7 end, 1")
    with luacell.Sandbox(store=file, stored_functions=False) as lua:
        assert lua.home["x"] == 1
        with pytest.raises(luacell.LuaStoreError):
            lua.compute("return _home.f()")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_three_forked_workers_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "state.luacell"
    lua = luacell.Sandbox(store=file)
    lua.compute("_home.big = {} for i = 1, 2000 do _home.big[i] = ('x'):rep(50) end _home.n = 0")
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            failed = 1
            try:
                for i in range(50):
                    with pytest.raises(luacell.LuaStoreError, match="before a fork"):
                        lua.compute("_home.w = _home.w or {} _home.w[...] = ('y'):rep(100) _home.n = _home.n + 1", i)
                with pytest.raises(luacell.LuaStoreError, match="in use by another process"):
                    luacell.Sandbox(store=file)
                lua.close()
                del lua
                failed = 0
            finally:
                os._exit(failed)
        children.append(child)
    for _ in range(50):
        lua.compute("_home.n = _home.n + 1")
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert lua.home["n"] == 50
    lua.close()
    with luacell.Sandbox(store=f"file://{file}?read_only=true") as lua:
        assert lua.home["n"] == 50 and sorted(lua.home["big"]) == list(range(1, 2001))
        assert set(lua.home) == {"big", "n"}
        with pytest.raises(luacell.LuaStoreError, match="reading only"):
            lua.home["n"] = 1


def test_cycles_through_host_functions_are_garbage() -> None:
    def make() -> weakref.ref[luacell.Sandbox]:
        lua = luacell.Sandbox()
        lua.register("f", lambda: lua.compute("return 1"))
        assert lua.compute("return f()") == 1
        return weakref.ref(lua)

    reference = make()
    gc.collect()
    assert reference() is None


class PlainStore:
    """Keeps nothing."""

    def get(self, table: int, key: str) -> bytes | None:
        return None

    def set(self, table: int, key: str, value: bytes) -> None:
        pass

    def delete(self, table: int, key: str) -> None:
        pass

    def size(self, table: int) -> int:
        return 0

    def keys(self, table: int) -> list[str]:
        return []


@pytest.mark.parametrize("closes", (False, True))
@pytest.mark.parametrize("through", ("modules", "store", "print", "failing store", "failing modules"))
def test_cycles_through_settings_are_garbage(through: str, closes: bool) -> None:
    class Payload:
        pass

    class Store(PlainStore):
        sandbox: luacell.Sandbox

        def __init__(self, payload: Payload) -> None:
            self.payload = payload
            self.ready = False

        def get(self, table: int, key: str) -> bytes | None:
            if through == "failing store" and self.ready:
                raise KeyError(key)
            return None

    def make() -> weakref.ref[Payload]:
        payload = Payload()
        lua: luacell.Sandbox

        def find(name: str) -> str:
            if through == "failing modules":
                raise KeyError(name)
            return f"return {len(lua.functions)}, {payload is not None}"

        def show(text: str) -> None:
            assert not lua.closed and payload is not None

        store = Store(payload)
        if "modules" in through:
            lua = luacell.Sandbox(modules=find)
        elif "store" in through:
            lua = store.sandbox = luacell.Sandbox(store=store)
            store.ready = True
        else:
            lua = luacell.Sandbox(on_print=show)
        with contextlib.suppress(luacell.LuaCellError):
            lua.compute("print(require('m') or _home.x)")
        with contextlib.suppress(luacell.LuaCellError):
            lua.home.get("x")
        if closes:
            lua.close()
        return weakref.ref(payload)

    reference = make()
    gc.collect()
    assert reference() is None


def test_arguments_of_the_wrong_type(lua: luacell.Sandbox) -> None:
    wrong: Any = 5
    for name, use in (
        ("on_print", lambda: luacell.Sandbox(on_print=wrong)),
        ("modules", lambda: luacell.Sandbox(modules=wrong)),
        ("modules.*str", lambda: luacell.Sandbox(modules={wrong: ""})),
        ("modules.*m .*bytes", lambda: luacell.Sandbox(modules={"m": wrong})),
        ("function", lambda: lua.register("x", wrong)),
        ("function", lambda: lua.function(wrong)),
        ("function", lambda: lua.function("x")(wrong)),
        ("function", lambda: lua.function()(wrong)),
        ("function.*partial.*name", lambda: lua.function(functools.partial(print, 1))),
    ):
        with pytest.raises(luacell.LuaInvalidArgumentError, match=f"^{name}"):
            use()
    with pytest.raises(TypeError, match="name"):
        lua.register(wrong, print)
    assert lua.functions == []
    sources = types.MappingProxyType({"m": b"return 7"})
    assert luacell.Sandbox(modules=sources).compute("return (require('m'))") == 7


def test_help_shows_all_methods() -> None:
    text = pydoc.plain(pydoc.render_doc(luacell.Sandbox))
    lines = text.splitlines()
    for name, member in inspect.getmembers(luacell.Sandbox):
        if not name.startswith("_"):
            at = next(at for at, line in enumerate(lines) if re.match(rf" \|  (async )?{name}\b", line))
            first = inspect.getdoc(member).splitlines()[0]  # type: ignore[union-attr]
            assert any(first in line for line in lines[at : at + 3]), name


def test_repr(lua: luacell.Sandbox) -> None:
    lua.home["x"] = 1
    assert "1 entries in home" in repr(lua) and "KiB in use" in repr(lua)


def test_everything_has_a_docstring() -> None:
    for name in luacell.__all__:
        if name in ("__version__", "ERROR_KINDS"):
            continue
        thing = getattr(luacell, name)
        assert thing.__doc__, name
        if isinstance(thing, type) and thing.__module__.startswith("luacell") and not issubclass(thing, Exception):
            for member in dir(thing):
                if not member.startswith("_") and member not in dir(dict):
                    assert getattr(thing, member).__doc__, f"{name}.{member}"
