"""Kept tables and where they live."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

import luacell


@pytest.fixture
def lua() -> luacell.Sandbox:
    return luacell.Sandbox()


def test_home_is_a_mutable_mapping(lua: luacell.Sandbox) -> None:
    home = lua.home
    assert isinstance(home, MutableMapping) and isinstance(home, luacell.Table)
    home["a"] = 1
    home.update(b=2, c=[1, 2, 3])
    assert (len(home), "a" in home, "z" in home, home.get("z", 7)) == (3, True, False, 7)
    assert sorted(home) == ["a", "b", "c"] and dict(home)["b"] == 2
    assert home.pop("a") == 1 and home.setdefault("d", 4) == 4 and home.setdefault("d", 5) == 4
    assert home == {"b": 2, "c": [1, 2, 3], "d": 4} and home != {"b": 2}
    with pytest.raises(KeyError):
        home["z"]
    with pytest.raises(KeyError):
        del home["z"]
    del home["d"]
    home["b"] = None
    assert home.keys() == {"c"}
    assert lua.compute("return _home.c[2], #_home.c") == (2, 3)
    home.clear()
    assert len(home) == 0 and home == {}


@pytest.mark.parametrize("key", (None, float("nan"), 2**70, -(2**70), object(), "\ud800", print, (), [1], {}, luacell))
def test_keys_that_cannot_exist_are_absent(lua: luacell.Sandbox, key: Any) -> None:
    home = lua.home
    home["a"] = 1
    assert key not in home and home.get(key) is None and home.get(key, 5) == 5 and home.pop(key, 5) == 5
    assert key not in home.keys() and (key, 1) not in home.items()
    with pytest.raises(KeyError):
        home[key]
    with pytest.raises(KeyError):
        del home[key]
    with pytest.raises(KeyError):
        home.pop(key)
    with contextlib.suppress(TypeError):
        assert home.keys().isdisjoint({key})  # for those that a set can hold
    writes: list[Callable[[], object]] = [
        lambda: home.__setitem__(key, 1),
        lambda: home.setdefault(key, 1),
        lambda: home.update([(key, 1)]),
    ]
    for write in writes:
        with pytest.raises((luacell.LuaConversionError, luacell.LuaInvalidArgumentError)):
            write()
    assert home == {"a": 1}
    home["t"] = {}
    assert home["t"] not in home and lua.compute("return function() end") not in home


def test_nested_tables_are_live(lua: luacell.Sandbox) -> None:
    lua.compute("_home.player = {name = 'Ada', items = {'rope'}}")
    player = lua.home["player"]
    lua.compute("_home.player.level = 3")
    assert player["level"] == 3
    player["items"][2] = "lamp"
    assert lua.compute("return _home.player.items[2]") == "lamp"
    assert player["items"] == ["rope", "lamp"] and player.to_python() == {"name": "Ada", "items": ["rope", "lamp"], "level": 3}
    lua.home["friend"] = player
    assert lua.compute("return _home.friend == _home.player") is True
    assert lua.home["friend"] == player
    assert lua.compute("return ...", player) == player
    assert "Ada" in repr(player) and repr(lua.home).startswith("<luacell.Table _home")
    with pytest.raises(TypeError):
        hash(player)


def test_keys_and_values_of_all_types(lua: luacell.Sandbox) -> None:
    home = lua.home
    home[1], home["1"], home[2.5], home[True], home[b"\xff"] = "integer", "text", "float", "boolean", "bytes"
    assert (home["1"], home[2.5], home[b"\xff"]) == ("text", "float", "bytes")
    assert lua.compute("return _home[1], _home['1'], _home[true]") == ("integer", "text", "boolean")
    with pytest.raises(luacell.LuaConversionError):
        home["f"] = lua.compute("return function() end")
    with pytest.raises(luacell.LuaConversionError):
        home[{"a": 1}] = 1


def test_a_failing_run_keeps_nothing(lua: luacell.Sandbox) -> None:
    lua.home["x"] = 1
    with pytest.raises(luacell.LuaRuntimeError):
        lua.compute("_home.x = 2 error('no')")
    assert lua.home["x"] == 1


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.luacell"
    for store in (str(path), path):
        with luacell.Sandbox(store=store) as lua:
            lua.home["n"] = lua.home.get("n", 0) + 1
    with luacell.Sandbox(store=path) as lua:
        assert lua.home["n"] == 2
    with pytest.raises(luacell.LuaStoreError):
        luacell.Sandbox(store=tmp_path / "missing" / "file")
    with pytest.raises(luacell.LuaStoreError):
        luacell.Sandbox(store="ftp://example")


class DictStore:
    def __init__(self) -> None:
        self.all: dict[int, dict[str, bytes]] = {}

    def get(self, table: int, key: str) -> bytes | None:
        return self.all.get(table, {}).get(key)

    def set(self, table: int, key: str, value: bytes) -> None:
        self.all.setdefault(table, {})[key] = value

    def delete(self, table: int, key: str) -> None:
        self.all.get(table, {}).pop(key, None)

    def size(self, table: int) -> int:
        return len(self.all.get(table, {}))

    def keys(self, table: int) -> Iterator[str]:
        return iter(list(self.all.get(table, {})))


def test_a_store_of_ones_own() -> None:
    store = DictStore()
    with luacell.Sandbox(store=store) as lua:
        lua.compute("_home.a = {1, 2, {x = 'y'}} _home.b = 5")
        assert lua.home == {"a": [1, 2, {"x": "y"}], "b": 5}
    assert store.all
    with luacell.Sandbox(store=store) as lua:
        assert lua.compute("return _home.a[3].x, _home.b") == ("y", 5)
        with pytest.raises(luacell.LuaRuntimeError):
            lua.compute("_home.b = 6 error('no')")
        assert lua.home["b"] == 5


class RowStore:
    """In a file, which any number of processes may open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ask("CREATE TABLE rows (id INTEGER, key TEXT, value BLOB, PRIMARY KEY (id, key))")

    def ask(self, code: str, *args: object) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.path)) as rows, rows:
            return rows.execute(code, args).fetchall()

    def get(self, table: int, key: str) -> bytes | None:
        found = self.ask("SELECT value FROM rows WHERE id = ? AND key = ?", table, key)
        return found[0][0] if found else None

    def set(self, table: int, key: str, value: bytes) -> None:
        self.ask("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", table, key, value)

    def delete(self, table: int, key: str) -> None:
        self.ask("DELETE FROM rows WHERE id = ? AND key = ?", table, key)

    def size(self, table: int) -> int:
        return len(list(self.keys(table)))

    def keys(self, table: int) -> Iterator[str]:
        return iter([key for (key,) in self.ask("SELECT key FROM rows WHERE id = ? ORDER BY key", table)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_store_of_ones_own_has_one_writer(tmp_path: Path) -> None:
    """Two would give the same numbers to their tables: in one process, or after a fork."""
    store = RowStore(tmp_path / "rows")
    first, second = luacell.Sandbox(store=store), luacell.Sandbox(store=store)
    first.compute("_home.first = {owner = 'first'}")
    with pytest.raises(luacell.LuaStoreError, match="another sandbox has written"):
        second.compute("_home.second = {owner = 'second'}")
    with pytest.raises(luacell.LuaStoreError, match="another sandbox has written"):
        second.home["first"]
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            first.compute("_home.child = {owner = 'child'}")
            failed = 0
        finally:
            os._exit(failed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(luacell.LuaStoreError, match="another sandbox has written"):
        first.compute("_home.first.owner = 'parent'")
    with luacell.Sandbox(store=store) as lua:
        assert lua.home == {"first": {"owner": "first"}, "child": {"owner": "child"}}


def test_a_store_that_commits_by_itself() -> None:
    class Committing(DictStore):
        def __init__(self) -> None:
            super().__init__()
            self.commits: list[int] = []
            self.busy = False

        def commit(self, writes: list[tuple[int, str | None, bytes | None]]) -> None:
            if self.busy:
                raise luacell.LuaConflictError("somebody else")
            self.commits.append(len(writes))
            for table, key, value in writes:
                if key is None:
                    self.all.pop(table, None)
                elif value is None:
                    self.delete(table, key)
                else:
                    self.set(table, key, value)

    store = Committing()
    with luacell.Sandbox(store=store, conflict_retries=1) as lua:
        lua.compute("_home.a = 1 _home.b = 2")
        assert max(store.commits) >= 2
        store.busy = True
        with pytest.raises(luacell.LuaConflictError):
            lua.compute("_home.a = 3")
        store.busy = False
        assert lua.home["a"] == 1


def test_a_store_that_fails() -> None:
    class Failing(DictStore):
        broken = False

        def get(self, table: int, key: str) -> bytes | None:
            if self.broken:
                raise OSError("disk on fire")
            return super().get(table, key)

    store = Failing()
    with luacell.Sandbox(store=store) as lua:
        lua.home["x"] = 1
        store.broken = True
        with pytest.raises(luacell.LuaStoreError, match="disk on fire") as caught:
            lua.compute("return _home.x")
        assert isinstance(caught.value.__cause__, OSError)
        with pytest.raises(luacell.LuaStoreError, match="disk on fire"):
            lua.home["x"]
        store.broken = False
        assert lua.home["x"] == 1
    store.broken = True
    with pytest.raises(luacell.LuaStoreError):
        luacell.Sandbox(store=store).compute("return _home.x")


def test_what_is_no_store() -> None:
    with pytest.raises(luacell.LuaInvalidArgumentError, match="no method 'get'"):
        luacell.Sandbox(store=5)  # type: ignore[arg-type]


def test_two_sandboxes_on_one_file(tmp_path: Path) -> None:
    path = tmp_path / "state.luacell"
    with luacell.Sandbox(store=path) as a, luacell.Sandbox(store=path) as b:
        a.compute("_home.n = 1")
        b.compute("_home.n = _home.n + 1")
        assert a.home["n"] == 2
