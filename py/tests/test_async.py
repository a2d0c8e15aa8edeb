"""On asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import os
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
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
async def test_interrupting_before_it_begins(lua: luacell.Sandbox) -> None:
    """The limit is no way out: there is none."""
    lua.compute("function forever() while true do pcall(error) end end")
    for turn in range(50):
        code = "forever" if turn % 2 else "while true do end"
        start = lua.call_async if turn % 2 else lua.compute_async
        running = asyncio.create_task(start(code, timeout=None))
        await asyncio.sleep(0)
        lua.interrupt()
        with pytest.raises(luacell.LuaInterruptedError):
            await running
        assert await lua.compute_async("return 1") == 1


def test_interrupting_before_there_is_a_thread() -> None:
    async def main() -> None:
        gate = threading.Event()
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(1) as executor, luacell.Sandbox(timeout=None) as lua:
            loop.set_default_executor(executor)
            executor.submit(gate.wait)
            running = asyncio.create_task(lua.compute_async("_home.began = true while true do end"))
            await asyncio.sleep(0)
            lua.interrupt()
            gate.set()
            with pytest.raises(luacell.LuaInterruptedError, match="interrupted"):
                await running
            assert "began" not in lua.home
            assert lua.compute("return 1") == 1

    asyncio.run(main())


@on_loop
async def test_interrupting_from_other_threads_before_it_waits(lua: luacell.Sandbox) -> None:
    @lua.function
    async def forever() -> None:
        await asyncio.Event().wait()

    for _ in range(50):
        running = asyncio.create_task(lua.compute_async("while true do pcall(forever) end", timeout=None))
        await asyncio.sleep(0)
        await asyncio.to_thread(lua.interrupt)
        with pytest.raises(luacell.LuaInterruptedError):
            await running


@on_loop
async def test_cancelling_one_that_has_not_begun_leaves_others_alone(lua: luacell.Sandbox) -> None:
    waiting, gate = asyncio.Event(), asyncio.Event()

    @lua.function
    async def wait() -> int:
        waiting.set()
        await gate.wait()
        return 7

    first = asyncio.create_task(lua.compute_async("return wait()"))
    await waiting.wait()
    second = asyncio.create_task(lua.compute_async("return 1"))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises((asyncio.CancelledError, luacell.LuaBusyError)):
        await second
    gate.set()
    assert await first == 7


@on_loop
async def test_closing_ends_the_run(_: luacell.Sandbox) -> None:
    waiting = asyncio.Event()

    async def forever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    for source in ("while true do end", "pcall(forever) while true do end"):
        lua = luacell.Sandbox(timeout=None)
        lua.register("forever", forever)
        running = asyncio.create_task(lua.compute_async(source))
        if "forever" in source:
            await waiting.wait()
        else:
            await asyncio.sleep(0)
        lua.close()
        with pytest.raises((luacell.LuaInterruptedError, luacell.LuaClosedError)):
            await running
        assert lua.closed


@on_loop
async def test_host_functions_have_ended_when_the_run_has(lua: luacell.Sandbox) -> None:
    events: list[str] = []
    waiting = asyncio.Event()

    @lua.function
    async def forever() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            events.append("cancelled")
            for _ in range(20):
                await asyncio.sleep(0)
            events.append("cleaned up")

    running = asyncio.create_task(lua.compute_async("pcall(forever)"))
    await waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert events == ["cancelled", "cleaned up"]
    with pytest.raises(luacell.LuaTimeoutError):
        await lua.compute_async("pcall(forever)", timeout=0.05)
    assert events == ["cancelled", "cleaned up"] * 2
    assert lua.compute("return 1") == 1


@on_loop
async def test_cancelling_twice(lua: luacell.Sandbox) -> None:
    waiting, stubborn = asyncio.Event(), asyncio.Event()

    @lua.function
    async def forever() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            stubborn.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(lua.compute_async("forever()"))
    await waiting.wait()
    running.cancel()
    await stubborn.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert lua.compute("return 1") == 1


class SlowToReturn(concurrent.futures.ThreadPoolExecutor):
    """Holds the worker thread back when it has done its work."""

    def __init__(self) -> None:
        super().__init__()
        self.returned, self.released = threading.Event(), threading.Event()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        def run() -> Any:
            result = function(*args, **kwargs)
            self.returned.set()
            self.released.wait()
            return result

        return super().submit(run)


@pytest.mark.parametrize("is_at_rest", (False, True))
def test_cancelling_twice_in_a_row(monkeypatch: pytest.MonkeyPatch, is_at_rest: bool) -> None:
    """While the worker is busy, or when the run waits and nobody is at it."""
    worker = SlowToReturn()
    monkeypatch.setattr("luacell._async._threads", worker)

    @on_loop
    async def test(lua: luacell.Sandbox) -> None:
        waiting, stubborn = asyncio.Event(), asyncio.Event()

        @lua.function
        async def forever() -> None:
            waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                stubborn.set()
                await asyncio.Event().wait()

        running = asyncio.create_task(lua.compute_async("forever()"))
        await waiting.wait()
        if is_at_rest:
            while not worker.returned.is_set():
                await asyncio.sleep(0)
            # What it told the event loop is heard.
            for _ in range(5):
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0)
        running.cancel()
        await stubborn.wait()
        worker.released.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert lua.compute("return 1") == 1

    test()


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
    assert cancelled.is_set()
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


@on_loop
async def test_a_result_that_ends_a_cancelled_run_ends_no_other(lua: luacell.Sandbox) -> None:
    waiting = asyncio.Event()

    class Odd:
        def __lua__(self) -> object:
            raise KeyboardInterrupt("late")

    @lua.function
    async def stubborn() -> Odd:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return Odd()

    running = asyncio.ensure_future(lua.compute_async("stubborn()"))
    await waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert lua.compute("_home.n = 1 return _home.n") == 1

    @lua.function
    async def odd() -> Odd:
        return Odd()

    with pytest.raises(KeyboardInterrupt, match="late"):
        await lua.compute_async("pcall(odd) _home.n = 2")
    assert lua.compute("return _home.n") == 1


@on_loop
async def test_whatever_returns_an_awaitable_is_waited_for(lua: luacell.Sandbox) -> None:
    loop = asyncio.get_running_loop()

    class Later:
        def __init__(self, value: object) -> None:
            self.value = value

        def __await__(self) -> Any:
            yield from asyncio.sleep(0.001).__await__()
            return self.value

    class Callable_:
        async def __call__(self, value: object) -> object:
            await asyncio.sleep(0)
            return value

    async def coroutine(value: object) -> object:
        await asyncio.sleep(0)
        return value

    futures: list[asyncio.Future[object]] = [loop.create_future() for _ in range(2)]
    lua.register("later", Later)
    lua.register("object", Callable_())
    lua.register("sometimes", lambda n: coroutine(n) if n > 1 else n)
    lua.register("future", lambda at: futures[at])
    assert await lua.compute_async("return later('a'), object('b'), sometimes(1), sometimes(2)") == ("a", "b", 1, 2)
    running = asyncio.create_task(lua.compute_async("local ok, e = pcall(future, 0) return ok, e:match('never'), future(1)"))
    futures[0].set_exception(LookupError("never"))
    futures[1].set_result((1, 2))
    assert await running == (False, "never", 1, 2)
    # Where nobody can wait, a coroutine does not complain that it was never awaited.
    with pytest.raises(luacell.LuaHostFunctionError, match="compute_async"):
        lua.compute("sometimes(2)")
    # Where Lua can't be put aside, the thread waits.
    code = "local t = {3, 2} table.sort(t, function(a, b) return sometimes(a) < b end) return t[1], t[2]"
    assert await lua.compute_async(code) == (2, 3)
    assert lua.compute("return sometimes(1)") == 1


@on_loop
async def test_a_generator_may_be_a_coroutine(lua: luacell.Sandbox) -> None:
    @types.coroutine
    def old() -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        return 7

    lua.register("old", old)
    assert await lua.compute_async("return old()") == 7


@on_loop
async def test_an_awaitable_that_does_not_close_is_still_an_answer(lua: luacell.Sandbox) -> None:
    class Odd(Coroutine[Any, Any, int]):
        def send(self, value: Any, /) -> Any:
            raise StopIteration(7)

        def throw(self, *error: Any) -> Any:
            raise AssertionError(error)

        def close(self) -> None:
            raise ValueError("never")

        def __await__(self) -> Generator[Any, Any, int]:
            yield from asyncio.sleep(0).__await__()
            return 7

    lua.register("odd", Odd)
    assert await lua.compute_async("return odd()", timeout=5) == 7
    with pytest.raises(luacell.LuaHostFunctionError, match="compute_async"):
        lua.compute("odd()")


@on_loop
async def test_a_coroutine_that_somebody_awaits_is_left_alone(lua: luacell.Sandbox) -> None:
    gate = asyncio.Event()

    async def wait() -> int:
        await gate.wait()
        return 7

    one = wait()
    lua.register("shared", lambda: one)

    @lua.function("open")
    async def open_gate() -> None:
        gate.set()

    first = "local first = require('task').spawn(shared) "
    code = first + "local ok, why = pcall(shared) open() return ok, why, (first:wait())"
    ok, why, value = await lua.compute_async(code, timeout=5)
    assert not ok and "awaited already" in why and value == 7

    gate.clear()
    one = wait()
    waiting = asyncio.ensure_future(one)
    await asyncio.sleep(0)
    with luacell.Sandbox() as other:
        other.register("shared", lambda: one)
        with pytest.raises(luacell.LuaHostFunctionError, match="compute_async"):
            other.compute("shared()")
    gate.set()
    assert await waiting == 7


@pytest.mark.parametrize("exception", (KeyboardInterrupt("end"), SystemExit(3)))
def test_what_ends_a_run_ends_it_from_an_async_function_too(exception: BaseException) -> None:
    """It comes out of the event loop, as from any task, and out of the run when the loop goes on."""

    async def leave() -> None:
        await asyncio.sleep(0)
        raise exception

    with luacell.Sandbox() as lua:
        lua.register("leave", leave)
        loop = asyncio.new_event_loop()
        running = loop.create_task(lua.compute_async("_home.n = 1 pcall(leave) _home.caught = true"))
        for _ in range(2):
            with pytest.raises(type(exception)) as raised:
                loop.run_until_complete(running)
            assert raised.value is exception
        loop.close()
        assert dict(lua.home) == {}
        with pytest.raises(type(exception)):
            asyncio.run(lua.compute_async("pcall(leave)"))
        assert lua.compute("return 1") == 1


@on_loop
async def test_one_script_waits_for_many_at_once(lua: luacell.Sandbox) -> None:
    now = most = 0

    @lua.function
    async def fetch(n: int, at: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return n * 2

    code = "local list = {} for i = 1, 50 do list[i] = i end return require('task').each(list, fetch, {limit = 7})"
    assert await lua.compute_async(code) == [n * 2 for n in range(1, 51)]
    assert most == 7


@on_loop
async def test_waiting_scripts_are_not_held_up_by_those_that_compute(_: luacell.Sandbox) -> None:
    """However many compute on and on, and whatever their limits are: in the end those who wait a little are done first."""
    count = 6 * max(2, os.cpu_count() or 2)
    long = [luacell.Sandbox(timeout=None) for _ in range(count)]
    short = [luacell.Sandbox() for _ in range(75)]

    async def nap() -> None:
        await asyncio.sleep(0.01)

    for lua in short:
        lua.register("nap", nap)
    computing = [asyncio.create_task(lua.compute_async("for i = 1, 1e8 do end")) for lua in long]
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(lua.compute_async("nap() nap() return 1")) for lua in short]
    _first, rest = await asyncio.wait(computing, return_when=asyncio.FIRST_COMPLETED)
    assert [task.done() for task in waiting] == [True] * len(short)
    assert await asyncio.gather(*waiting) == [1] * len(short)
    await asyncio.gather(*rest)


@on_loop
async def test_a_thousand_waiting_scripts_take_no_threads(_: luacell.Sandbox) -> None:
    count = 1000
    gate = asyncio.Event()
    arrived = threads = 0

    async def wait() -> None:
        nonlocal arrived, threads
        arrived += 1
        if arrived == count:
            threads = threading.active_count()
            gate.set()
        await gate.wait()

    boxes = [luacell.Sandbox() for _ in range(count)]
    for box in boxes:
        box.register("wait", wait)
    await asyncio.gather(*(box.compute_async("wait()") for box in boxes))
    assert threads < count // 2


@on_loop
async def test_a_repeatable_function_may_be_async(lua: luacell.Sandbox) -> None:
    store: dict[tuple[int, str], bytes] = {}
    meddle = True

    class Store:
        def get(self, table: int, key: str) -> bytes | None:
            return store.get((table, key))

        def set(self, table: int, key: str, value: bytes) -> None:
            store[table, key] = value

        def delete(self, table: int, key: str) -> None:
            store.pop((table, key), None)

        def size(self, table: int) -> int:
            return sum(t == table for t, _ in store)

        def keys(self, table: int) -> list[str]:
            return [key for t, key in store if t == table]

        def commit(self, writes: list[Any]) -> None:
            nonlocal meddle
            if meddle:
                meddle = False
                raise luacell.LuaConflictError("somebody was faster")
            for write in writes:
                self.set(*write)

        def begin(self) -> None:
            pass

        def rollback(self) -> None:
            pass

    async def price() -> int:
        return 5

    with luacell.Sandbox(store=Store()) as kept:
        kept.register("price", price, repeatable=True)
        assert await kept.compute_async("_home.n = price() return _home.n") == 5
        meddle = True
        kept.register("price", price)
        with pytest.raises(luacell.LuaConflictError):
            await kept.compute_async("_home.n = price() return _home.n")


def python(code: str) -> str:
    """What a program prints that ends as it should."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


ENDLESS = """
import asyncio, gc, threading, luacell
lua = luacell.Sandbox(timeout=None)
begun = threading.Event()
lua.register("begun", begun.set)
async def endless():
    await lua.compute_async("begun() while true do end")
async def begin():
    task = asyncio.create_task(endless())
    while not begun.is_set():
        await asyncio.sleep(0)
    return task
"""


@pytest.mark.parametrize("closes", ("", "loop.close()"))
def test_python_exits_while_a_script_computes_for_a_loop_that_does_not_run(closes: str) -> None:
    python(f"{ENDLESS}\nloop = asyncio.new_event_loop()\ntask = loop.run_until_complete(begin())\n{closes}")


def test_python_exits_while_a_script_computes_for_a_loop_on_a_daemon_thread() -> None:
    python(f"{ENDLESS}\nthreading.Thread(target=asyncio.run, args=(endless(),), daemon=True).start()\nbegun.wait()")


def test_a_loop_on_another_thread_goes_on_when_the_main_thread_has_ended() -> None:
    code = """
import asyncio, threading, luacell
async def main():
    async with luacell.Sandbox() as lua:
        {first}
        while threading.main_thread().is_alive():
            await asyncio.sleep(0)
        for n in range(3):
            print(await lua.compute_async("return ...", n))
threading.Thread(target=asyncio.run, args=(main(),)).start()
"""
    # With and without threads of before.
    for first in ("", 'await lua.compute_async("return 1")'):
        assert python(code.format(first=first)) == "0\n1\n2\n"


def test_a_loop_that_was_closed_leaves_the_sandbox() -> None:
    lua = luacell.Sandbox(timeout=None)
    begun, waits = threading.Event(), threading.Event()
    lua.register("begun", begun.set)

    @lua.function
    async def forever() -> None:
        waits.set()
        await asyncio.Event().wait()

    async def run(code: str, event: threading.Event) -> asyncio.Task[Any]:
        task = asyncio.create_task(lua.compute_async(code))
        while not event.is_set():
            await asyncio.sleep(0)
        return task

    uses: list[Callable[[], object]] = [
        lambda: lua.compute("return 1"),
        lambda: asyncio.run(lua.compute_async("return 1")),
        lambda: lua.start("return 1").result(),
        lambda: lua.call("math.abs", 1),
        lambda: len(lua.home),
        lua.reset,
    ]
    for code, event in (("begun() while true do end", begun), ("forever()", waits)):
        for use in uses:
            event.clear()
            loop = asyncio.new_event_loop()
            task = loop.run_until_complete(run(code, event))
            loop.close()
            use()
            assert not task.done()
            task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_loop_that_was_closed_leaks_nothing() -> None:
    lua = luacell.Sandbox()
    loop = asyncio.new_event_loop()

    @lua.function
    async def forever() -> None:
        loop.stop()
        await asyncio.Event().wait()

    task = loop.create_task(lua.compute_async("forever()"))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.run_forever()
    loop.close()
    gone = weakref.ref(lua)
    del task, loop, forever, lua
    asyncio.run(luacell.Sandbox().compute_async("return 1"))
    gc.collect()
    assert gone() is None
