"""What is over when a call returns that cancels or closes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import luacell

ENDLESS = "while true do pcall(error) end"


@pytest.mark.parametrize("waits", (False, True))
def test_a_cancelled_task_makes_nobody_busy(waits: bool) -> None:
    async def main() -> None:
        lua = luacell.Sandbox(timeout=None)

        @lua.function
        async def forever() -> None:
            await asyncio.Event().wait()

        for round in range(1000):
            task = asyncio.create_task(lua.compute_async("forever()" if waits else ENDLESS))
            # At any point between its beginning and its first host function.
            for _ in range(round % 5):
                await asyncio.sleep(0)
            if round % 10 == 9:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert lua.compute("return 1") == 1
            if round % 3 == 0:
                with pytest.raises((asyncio.TimeoutError, TimeoutError)):
                    await asyncio.wait_for(lua.compute_async(ENDLESS), 0.001)
                assert await lua.compute_async("return 2") == 2

    asyncio.run(main())


def test_an_interrupted_run_makes_nobody_busy() -> None:
    lua = luacell.Sandbox(timeout=None)
    for _ in range(300):
        begun = threading.Event()
        lua.register("begun", begun.set)
        thread = threading.Thread(target=lambda: pytest.raises(luacell.LuaInterruptedError, lua.compute, f"begun() {ENDLESS}"))
        thread.start()
        begun.wait()
        lua.interrupt()
        assert lua.compute("return 1") == 1
        thread.join()


def test_when_a_sandbox_was_closed_no_run_is_left(tmp_path: Path) -> None:
    for _ in range(30):
        lua = luacell.Sandbox(store=tmp_path / "store", timeout=None)
        begun, over = threading.Event(), threading.Event()

        def slow(begun: threading.Event = begun, over: threading.Event = over) -> None:
            begun.set()
            time.sleep(0.01)
            over.set()

        lua.register("slow", slow)
        thread = threading.Thread(target=lambda lua=lua: pytest.raises(luacell.LuaInterruptedError, lua.compute, f"slow() {ENDLESS}"))
        thread.start()
        begun.wait()
        lua.close()
        assert over.is_set()
        luacell.Sandbox(store=tmp_path / "store").close()
        thread.join()


@pytest.mark.parametrize("code", ("forever()", "pcall(forever)", "later() while true do end"))
def test_closing_ends_runs_of_asyncio(tmp_path: Path, code: str) -> None:
    async def main() -> None:
        for round in range(20):
            lua = luacell.Sandbox(store=tmp_path / "store", timeout=None)
            waiting = asyncio.Event()
            ended = False

            @lua.function
            async def forever() -> None:
                nonlocal ended
                waiting.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ended = True

            @lua.function
            async def later() -> None:
                waiting.set()

            task = asyncio.create_task(lua.compute_async(code))
            if round % 4:
                await waiting.wait()
            if round % 2:
                lua.close()
            else:
                await lua.aclose()
            # Nothing has the store any more, whatever the event loop does.
            luacell.Sandbox(store=tmp_path / "store").close()
            with pytest.raises((luacell.LuaInterruptedError, luacell.LuaClosedError)):
                await task
            assert ended or "forever" not in code or not waiting.is_set()
        async with luacell.Sandbox() as lua:
            assert await lua.compute_async("return 1") == 1
        assert lua.closed

    asyncio.run(main())


def test_a_host_function_closes_its_sandbox_on_asyncio() -> None:
    async def main() -> None:
        lua = luacell.Sandbox()

        @lua.function
        async def later() -> None:
            lua.close()

        lua.register("close", lua.close)
        with pytest.raises(luacell.LuaInterruptedError):
            await lua.compute_async("close() while true do end")
        lua = luacell.Sandbox()
        lua.register("later", later)
        with pytest.raises(luacell.LuaInterruptedError):
            await lua.compute_async("later() while true do end")
        assert lua.closed

    asyncio.run(main())


def test_what_was_closed_says_so() -> None:
    lua = luacell.Sandbox()
    lua.compute("_home.t = {1}")
    home, view, function, snapshot = lua.home, lua.home["t"], lua.compute("return function() end"), lua.snapshot()
    blob = lua.export_home()
    lua.close()
    lua.close()
    lua.interrupt()
    assert lua.closed
    uses: list[Callable[[], Any]] = [
        lambda: lua.compute("return 1"),
        lambda: lua.call("f"),
        lambda: asyncio.run(lua.compute_async("return 1")),
        lambda: asyncio.run(lua.call_async("f")),
        lambda: lua.register("f", print),
        lambda: lua.unregister("f"),
        lambda: lua.functions,
        lambda: lua.input,
        lambda: setattr(lua, "input", 1),
        lambda: lua.output,
        lambda: setattr(lua, "output", 1),
        lambda: lua.meta,
        lambda: setattr(lua, "meta", 1),
        lua.clear_io,
        lua.memory_stats,
        lua.table_count,
        lua.gc,
        lua.reset,
        lua.snapshot,
        lambda: lua.restore(snapshot),
        lua.fork,
        lua.export_home,
        lambda: lua.import_home(blob),
        lambda: home["x"],
        lambda: home.get("x"),
        lambda: home.update(x=1),
        lambda: len(home),
        lambda: "x" in home,
        lambda: list(home),
        lambda: view[1],
        lambda: len(view),
        lambda: function(),
        lambda: lua.home["x"],
    ]
    for number, use in enumerate(uses):
        with pytest.raises(luacell.LuaClosedError):
            use()
            pytest.fail(f"use {number}")


def test_runs_may_wait_for_runs() -> None:
    """Each in a plain host function, which takes a thread, and more of them than pools use to have threads."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        all_ = [luacell.Sandbox() for _ in range(100)]
        for this, following in zip(all_, [*all_[1:], None]):

            def run_next(following: luacell.Sandbox | None = following) -> int:
                if following is None:
                    return 1
                result = asyncio.run_coroutine_threadsafe(following.compute_async("return run_next() + 1"), loop).result()
                return int(result)

            this.register("run_next", run_next)
        assert await all_[0].compute_async("return run_next()") == 100
        # Side by side, each waiting for all.
        met = threading.Barrier(len(all_))
        for lua in all_:
            lua.register("meet", met.wait)
        await asyncio.gather(*(lua.compute_async("meet()") for lua in all_))

    asyncio.run(main())


def test_endless_scripts_starve_nobody() -> None:
    async def main() -> None:
        hostile = [luacell.Sandbox(timeout=None) for _ in range(16 * (os.cpu_count() or 1))]
        endless = [asyncio.create_task(lua.compute_async(ENDLESS)) for lua in hostile]
        await asyncio.sleep(0)
        good = [luacell.Sandbox() for _ in range(20)]

        async def price(_: str) -> int:
            await asyncio.sleep(0)
            return 2

        for lua in good:
            lua.register("price", price)
        # A time that counted while they wait for their turn would have passed.
        assert await asyncio.gather(*(lua.compute_async("return price('x')") for lua in good)) == [2] * len(good)
        # One that waits for its turn is taken out.
        late = luacell.Sandbox(timeout=None)
        task = asyncio.create_task(late.compute_async(ENDLESS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert late.compute("return 1") == 1
        for lua in hostile:
            lua.interrupt()
        results = await asyncio.gather(*endless, return_exceptions=True)
        assert all(isinstance(result, luacell.LuaInterruptedError) for result in results)

    asyncio.run(main())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("cycle", (False, True))
def test_forgotten_sandboxes_are_found_in_time(cycle: bool) -> None:
    code = f"""
import gc, os, luacell
gc.set_threshold(1_000_000)  # as if there were little but sandboxes
most = 0
for i in range(3000):
    lua = luacell.Sandbox()
    if {cycle}:
        lua.register("self", lambda lua=lua: len(lua.home))
    if i % 2:
        lua.compute("x = ('x'):rep(1000000)")
    else:
        lua.home["x"] = "x" * 1_000_000
    most = max(most, int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
assert most < 768 << 20, most
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class _Dict:
    """A store that calls back when it is asked for something, or gets it."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, str], bytes] = {}
        self.on_get: Callable[[], None] = lambda: None
        self.on_set: Callable[[], None] = lambda: None

    def get(self, table: int, key: str) -> bytes | None:
        if key == "call":
            self.on_get()
        return self.values.get((table, key))

    def set(self, table: int, key: str, value: bytes) -> None:
        self.on_set()
        self.values[table, key] = value

    def delete(self, table: int, key: str) -> None:
        self.values.pop((table, key), None)

    def size(self, table: int) -> int:
        return len(self.keys(table))

    def keys(self, table: int) -> list[str]:
        return [key for number, key in self.values if number == table]


@pytest.mark.parametrize("source", ["print('x')", "return _home.call", "_home.x = 1 _home.y = 2", "require 'x'"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_whatever_a_run_calls_may_close_the_sandbox(source: str, asynchronous: bool) -> None:
    store = _Dict()

    def close(*_: object) -> str:
        lua.close()
        return ""

    lua = luacell.Sandbox(store=store, on_print=close, modules=close)
    store.on_get = store.on_set = lambda: lua.close()

    def run() -> None:
        try:
            asyncio.run(lua.compute_async(source)) if asynchronous else lua.compute(source)
        except luacell.LuaCellError:
            pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert lua.closed
