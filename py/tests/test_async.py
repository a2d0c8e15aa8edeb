"""On asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import luacell


def on_loop(test: Callable[[luacell.Sandbox], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            with luacell.Sandbox() as lua:
                await test(lua)

        asyncio.run(main(), debug=True)

    run.__name__ = test.__name__
    return run


@on_loop
async def test_results_and_errors(lua: luacell.Sandbox) -> None:
    assert await lua.compute_async("print('x') return ..., 2", 1, name="=a") == (1, 2)
    assert lua.outcome.output == "x\n"
    lua.compute("function f(a) return a end")
    assert await lua.call_async("f", [1]) == [1]
    with pytest.raises(luacell.LuaRuntimeError, match="a:1: no"):
        await lua.compute_async("error('no')", name="=a")
    with pytest.raises(luacell.LuaInstructionLimitError):
        await lua.compute_async("while true do end", instruction_limit=100_000)
    assert lua.compute("return 1") == 1


@on_loop
async def test_async_host_functions(lua: luacell.Sandbox) -> None:
    events: list[str] = []
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("mine")

    @lua.function
    async def fetch(name: str) -> tuple[str, str]:
        events.append(f"fetch {name}")
        await asyncio.sleep(0.001)
        return name.upper(), variable.get()

    lua.register("plain", lambda: (variable.get(), threading.current_thread() is threading.main_thread()))
    lua.register("partial", functools.partial(fetch, "part"))
    assert await lua.compute_async("return fetch('a'), fetch('b')") == ("A", "B", "mine")
    assert await lua.compute_async("return plain()") == ("mine", False)
    assert (await lua.compute_async("return partial()"))[0] == "PART"
    assert await lua.compute_async("local co = coroutine.wrap(function() return (fetch('c')) end) return co()") == "C"
    assert events == ["fetch a", "fetch b", "fetch part", "fetch c"]
    with pytest.raises(luacell.LuaHostFunctionError, match="compute_async"):
        lua.compute("return fetch('a')")


@on_loop
async def test_exceptions_of_async_functions(lua: luacell.Sandbox) -> None:
    mistake = KeyError("x")

    @lua.function
    async def fail() -> None:
        await asyncio.sleep(0)
        raise mistake

    with pytest.raises(luacell.LuaHostFunctionError) as caught:
        await lua.compute_async("fail()")
    assert caught.value.__cause__ is mistake
    assert await lua.compute_async("return (pcall(fail))") is False


@on_loop
async def test_the_loop_stays_free(lua: luacell.Sandbox) -> None:
    running = asyncio.ensure_future(lua.compute_async("while not stop() do end return 'done'"))
    steps = 0
    stopping = False
    lua_stop: list[bool] = []

    def stop() -> bool:
        return stopping

    del lua_stop
    await asyncio.sleep(0)
    # The run has begun or will: registering waits for neither.
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    lua.register("stop", stop)
    running = asyncio.ensure_future(lua.compute_async("while not stop() do end return 'done'"))
    while steps < 20:
        await asyncio.sleep(0)
        steps += 1
    assert not running.done()
    stopping = True
    assert await running == "done"


@on_loop
async def test_cancelling_interrupts_the_script(lua: luacell.Sandbox) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    lua.register("started", lambda: loop.call_soon_threadsafe(started.set) and None)
    lua.home["n"] = 1
    running = asyncio.ensure_future(lua.compute_async("_home.n = 2 started() while true do pcall(error) end"))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert lua.home["n"] == 1 and lua.compute("return 1") == 1
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(lua.compute_async("while true do end"), 0.05)
    assert lua.compute("return 1") == 1


@on_loop
async def test_cancelling_before_it_begins(lua: luacell.Sandbox) -> None:
    for _ in range(50):
        running = asyncio.ensure_future(lua.compute_async("while true do end"))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await lua.compute_async("return 1") == 1


@on_loop
async def test_cancelling_cancels_the_host_function(lua: luacell.Sandbox) -> None:
    waiting = asyncio.Event()
    cancelled = asyncio.Event()

    @lua.function
    async def forever() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    running = asyncio.ensure_future(lua.compute_async("forever()"))
    await waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(cancelled.wait(), 60)
    assert lua.compute("return 1") == 1


@on_loop
async def test_a_timeout_counts_while_waiting(lua: luacell.Sandbox) -> None:
    @lua.function
    async def forever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(luacell.LuaTimeoutError):
        await lua.compute_async("forever()", timeout=0.05)
    assert lua.compute("return 1") == 1


@on_loop
async def test_interrupt_while_waiting(lua: luacell.Sandbox) -> None:
    waiting = asyncio.Event()

    @lua.function
    async def forever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    running = asyncio.ensure_future(lua.compute_async("pcall(forever) return 1"))
    await waiting.wait()
    with pytest.raises(luacell.LuaBusyError):
        lua.compute("return 1")
    lua.interrupt()
    with pytest.raises(luacell.LuaInterruptedError):
        await running


@on_loop
async def test_hundreds_of_scripts_wait_at_a_time(_: luacell.Sandbox) -> None:
    count = 300
    gate = asyncio.Event()
    arrived = 0

    async def wait(number: int) -> int:
        nonlocal arrived
        arrived += 1
        if arrived == count:
            gate.set()
        await gate.wait()
        return number

    boxes = [luacell.Sandbox() for _ in range(count)]
    for box in boxes:
        box.register("wait", wait)
    results: list[Any] = await asyncio.gather(*(box.compute_async("return wait(...)", at) for at, box in enumerate(boxes)))
    assert results == list(range(count))
