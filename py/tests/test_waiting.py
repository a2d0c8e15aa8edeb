"""Runs that wait as plain values: declare, start, answer, resume; durable ones."""

from __future__ import annotations

import asyncio
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import luacell


@pytest.fixture
def lua() -> Iterator[luacell.Sandbox]:
    with luacell.Sandbox() as lua:
        lua.declare("ask")
        yield lua


def answer_all(run: luacell.Run, *values: object) -> object:
    while run.waiting:
        for request in run.requests:
            run.answer(request.id, *values)
        run.resume()
    return run.result()


def test_a_run_waits_for_its_answer(lua: luacell.Sandbox) -> None:
    run = lua.start("print('a') local a = ask('q', 1, {2}) print('b') return a, ...", 7, name="=asks")
    assert run.waiting and run.outcome is None and run.name is None
    (request,) = run.requests
    assert (request.id, request.name, request.args) == (1, "ask", ("q", 1, [2]))
    assert repr(request) == "Request(id=1, name='ask', args=('q', 1, [2]))"
    assert repr(run) == "<luacell.Run waits>"
    with pytest.raises(luacell.LuaBusyError, match="answer its requests"):
        run.result()
    run.answer(1, "yes")
    assert run.requests == [] and run.waiting
    with pytest.raises(luacell.LuaInvalidArgumentError, match="no open request 1"):
        run.answer(1, "again")
    run.resume()
    assert not run.waiting and run.requests == []
    assert run.result() == ("yes", 7) and run.result() == ("yes", 7)
    assert run.outcome is not None and (run.outcome.output, run.outcome.count) == ("a\nb\n", 2)
    assert lua.outcome.output == "a\nb\n"
    for use in (run.resume, lambda: run.answer(1), lambda: run.fail(1, "x")):
        with pytest.raises(luacell.LuaInvalidArgumentError):
            use()
    assert repr(run) == "<luacell.Run done>"
    run.cancel()
    run.close()
    run.renew()
    assert run.result() == ("yes", 7)


def test_what_need_not_wait_is_done_at_once(lua: luacell.Sandbox) -> None:
    assert lua.start("return 1 + ...", 1).result() == 2
    assert lua.start("").result() is None
    for code, kind in (("error('no')", luacell.LuaRuntimeError), ("return +", luacell.LuaSyntaxError)):
        run = lua.start(code)
        assert not run.waiting and run.outcome is None
        for _ in range(2):
            with pytest.raises(kind):
                run.result()
    lua.compute("function f(x) return ask(x) end")
    run = lua.start_call("f", "x", instruction_limit=100_000)
    assert run.requests[0].args == ("x",)
    assert answer_all(run, 1, 2) == (1, 2)
    with pytest.raises(luacell.LuaInstructionLimitError):
        lua.start("while true do end", instruction_limit=100_000).result()
    with pytest.raises(TypeError, match="unexpected keyword argument 'speed'"):
        lua.start("return 1", speed=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(luacell.LuaConversionError):
        lua.start("return 1", object())


def test_a_request_that_can_not_be_is_named(lua: luacell.Sandbox) -> None:
    run = lua.start("return ask()")
    for id in (-1, 2**64, 1.0, float("inf"), "1", None):
        anything: Any = id
        for use in (run.answer, run.fail):
            with pytest.raises(luacell.LuaInvalidArgumentError, match="^id: "):
                use(anything, "x")
    assert answer_all(run, 5) == 5


def test_answers_in_any_order(lua: luacell.Sandbox) -> None:
    run = lua.start("return require('task').all(function() return ask(1) end, function() return ask(2) end)")
    assert [request.args for request in run.requests] == [(1,), (2,)]
    run.answer(2, "second")
    run.resume()
    assert [request.id for request in run.requests] == [1]
    run.answer(1, "first")
    run.resume()
    assert run.result() == ("first", "second")


def test_answers_that_are_errors(lua: luacell.Sandbox) -> None:
    mistake = KeyError("x")
    for error, message in (
        ("no luck", "no luck"),
        (mistake, "'x'"),
        (luacell.LuaHostFunctionError(value={"code": 7}), ""),
    ):
        run = lua.start("ask()")
        run.fail(1, error)
        run.resume()
        with pytest.raises(luacell.LuaCellError) as caught:
            run.result()
        assert message in caught.value.message
        if error is mistake:
            assert caught.value.__cause__ is mistake
        if isinstance(error, luacell.LuaHostFunctionError):
            assert caught.value.value == {"code": 7}
    run = lua.start("return (select(2, pcall(ask)))")
    run.fail(1, luacell.LuaHostFunctionError(value={"code": 7}))
    run.resume()
    assert run.result() == {"code": 7}
    run = lua.start("ask()")
    with pytest.raises(luacell.LuaInvalidArgumentError, match="an exception or text"):
        run.fail(1, 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(luacell.LuaConversionError):
        run.answer(1, object())
    run.answer(1)
    run.resume()
    assert run.result() is None


def test_nobody_answers_in_other_runs(lua: luacell.Sandbox) -> None:
    with pytest.raises(luacell.LuaHostFunctionError, match="'ask' is answered by whoever starts the run"):
        lua.compute("ask()")
    assert lua.functions == ["ask"]
    lua.register("ask", lambda: 5)
    assert lua.compute("return ask()") == 5
    lua.declare("ask")
    assert lua.start("ask()").waiting
    with luacell.Sandbox() as other:
        other.declare("web.fetch")
        assert other.start("return web.fetch('a')").requests[0].name == "web.fetch"
        with pytest.raises(luacell.LuaInvalidArgumentError):
            other.declare("not a name")
        assert other.functions == ["web.fetch"]
    assert lua.unregister("ask") and lua.functions == []


def test_leaving_and_cancelling(lua: luacell.Sandbox) -> None:
    with lua.start("_home.x = 1 ask()") as run:
        assert lua.home["x"] == 1, "it is seen as a part of the run"
    assert not run.waiting and "x" not in lua.home
    with pytest.raises(luacell.LuaClosedError, match="left"):
        run.result()
    run = lua.start("_home.x = 1 pcall(ask) while true do end")
    run.cancel()
    with pytest.raises(luacell.LuaInterruptedError, match="cancelled"):
        run.result()
    run = lua.start("_home.x = 1 ask()")
    with pytest.raises(luacell.LuaBusyError):
        lua.start("return 1")
    del run
    gc.collect()
    assert lua.compute("return _home.x") is None
    run = lua.start("pcall(ask) return 1")
    lua.interrupt()
    run.answer(1)
    run.resume()
    with pytest.raises(luacell.LuaInterruptedError):
        run.result()
    run = lua.start("ask()")
    lua.close()
    assert not run.waiting and repr(run) == "<luacell.Run failed>"
    with pytest.raises(luacell.LuaClosedError):
        run.requests
    run.resume()
    with pytest.raises(luacell.LuaClosedError):
        run.result()


def test_what_ends_a_run_comes_out_of_it(lua: luacell.Sandbox) -> None:
    def leave() -> None:
        raise SystemExit(7)

    lua.register("leave", leave)
    with pytest.raises(SystemExit):
        lua.start("pcall(leave)")
    run = lua.start("ask() pcall(leave)")
    run.answer(1)
    with pytest.raises(SystemExit):
        run.resume()
    with pytest.raises(luacell.LuaInterruptedError):
        run.result()
    assert lua.compute("return 1") == 1


def test_time_stands_still_while_it_waits(lua: luacell.Sandbox) -> None:
    run = lua.start("ask() return 1", timeout="50ms")
    threading.Event().wait(0.1)
    assert answer_all(run) == 1


def test_threads(lua: luacell.Sandbox) -> None:
    """Any thread answers; the one that resumed it last uses the sandbox."""
    run = lua.start("local a = ask(function(x) return x + 1 end) return a + ask()")
    assert run.requests[0].args[0](1) == 2

    def work() -> None:
        with pytest.raises(luacell.LuaBusyError):
            lua.compute("return 1")
        with pytest.raises(luacell.LuaBusyError):
            run.requests[0].args[0](1)
        run.answer(1, 20)
        run.resume()
        assert run.waiting and lua.compute("return 1") == 1

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with pytest.raises(luacell.LuaBusyError):
        lua.compute("return 1")
    run.answer(2, 22)
    run.resume()
    assert run.result() == 42 and lua.compute("return 1") == 1


def test_a_run_that_is_resumed_on_another_thread_is_in_use(lua: luacell.Sandbox) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        begun.set()
        go_on.wait()

    lua.register("pause", pause)
    run = lua.start("ask() pause() return 7")
    run.answer(1)
    thread = threading.Thread(target=run.resume)
    thread.start()
    begun.wait()
    assert not run.waiting and repr(run) == "<luacell.Run runs>"
    for use in (run.result, run.resume, run.cancel, lambda: run.answer(1), lambda: run.requests):
        with pytest.raises(luacell.LuaBusyError, match="in use"):
            use()
    go_on.set()
    thread.join()
    assert run.result() == 7


def test_the_collector_sees_it() -> None:
    class Kept:
        pass

    def use() -> weakref.ref[Kept]:
        kept = Kept()
        lua = luacell.Sandbox()
        lua.declare("ask")
        run = lua.start("return ask()")
        lua.register("f", lambda: (run, kept, failed))
        failed = lua
        return weakref.ref(kept)

    kept = use()
    gc.collect()
    assert kept() is None


def test_a_snapshot_has_the_run_that_waits(lua: luacell.Sandbox) -> None:
    run = lua.start("local n = 5 _home.x = n local a = ask('q') return a + n, _home.x")
    snapshot = pickle.loads(pickle.dumps(lua.snapshot()))
    fork = lua.fork()
    assert fork.functions == ["ask"]
    restored = luacell.Sandbox()
    restored.restore(snapshot)
    for other in (fork, restored):
        with pytest.raises(luacell.LuaBusyError):
            other.compute("return 1")
        taken = other.waiting_run()
        assert taken is not None and other.waiting_run() is None
        assert [(request.id, request.args) for request in taken.requests] == [(1, ("q",))]
        assert answer_all(taken, 2) == (7, 5)
        assert other.home["x"] == 5
    assert lua.waiting_run() is None
    assert answer_all(run, 3) == (8, 5)


ORDER = "local paid = ask('payment') _home.paid = (_home.paid or 0) + paid local again = ask('more') return _home.paid + again"


def test_durable_runs(tmp_path: Path) -> None:
    path = tmp_path / "orders.luacell"

    def open_() -> luacell.Sandbox:
        lua = luacell.Sandbox(store=path, claim_term="1h")
        lua.declare("ask")
        return lua

    with open_() as lua:
        with lua.start(ORDER, durable="order-17") as run:
            assert run.waiting and run.name == "order-17" and repr(run) == '<luacell.Run "order-17" waits>'
            (pending,) = lua.pending_runs()
            assert pending.name == "order-17" and pending.claimed is not None and 3500 < pending.claimed <= 3600
            run.renew()
            run.answer(1, 30)
            run.resume()
            assert run.requests[0].args == ("more",)
        assert lua.home["paid"] == 30
        (pending,) = lua.pending_runs()
        assert pending.claimed is None and repr(pending) == "PendingRun(name='order-17', claimed=None)"
    with open_() as lua:
        with pytest.raises(luacell.LuaInvalidArgumentError):
            lua.resume("order-18")
        run = lua.resume("order-17")
        assert run.waiting and run.name == "order-17" and [request.id for request in run.requests] == [2]
        assert answer_all(run, 12) == 42
        assert lua.pending_runs() == []
        with pytest.raises(luacell.LuaInvalidArgumentError):
            lua.resume("order-17")
        lua.start(ORDER, durable="a").close()
        lua.start(ORDER, durable="b").cancel()
        assert [run.name for run in lua.pending_runs()] == ["a"]
        assert lua.drop_pending_run("a") and not lua.drop_pending_run("a")
        with pytest.raises(luacell.LuaInvalidArgumentError):
            lua.start(ORDER, durable="").result()
    with pytest.raises(luacell.LuaInvalidArgumentError, match="claim_term"):
        luacell.Sandbox(claim_term=-1)


def test_a_durable_run_survives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "orders.luacell"
    code = f"""
import luacell, os, signal
lua = luacell.Sandbox(store={str(path)!r}, claim_term=0)
lua.declare("ask")
run = lua.start({ORDER!r}, durable="order")
run.answer(1, 30)
run.resume()
os.abort() if os.name != "posix" else os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode != 0
    with luacell.Sandbox(store=path) as lua:
        lua.declare("ask")
        run = lua.resume("order")
        assert [(request.id, request.args) for request in run.requests] == [(2, ("more",))]
        assert answer_all(run, 12) == 42 and lua.home["paid"] == 30


def test_on_asyncio(lua: luacell.Sandbox) -> None:
    """Lua runs on other threads, and what comes in between on the loop's."""

    async def main() -> None:
        loop = threading.get_ident()
        threads: list[int] = []
        lua.register("here", lambda: threads.append(threading.get_ident()))
        run = await lua.start_async("here() local n = ask(function() return 5 end, ...) here() return n + ask()", 7)
        assert run.waiting and run.requests[0].args[1] == 7
        assert run.requests[0].args[0]() == 5 and lua.compute("return 1") == 1
        run.answer(1, 20)
        await run.resume_async()
        run.answer(2, 22)
        run.resume()
        assert run.result() == 42
        assert len(threads) == 2 and loop not in threads
        lua.compute("function f(x) return ask(x) end")
        run = await lua.start_call_async("f", 1)
        assert run.requests[0].args == (1,)
        run.fail(1, "no")
        await run.resume_async()
        with pytest.raises(luacell.LuaHostFunctionError, match="no"):
            run.result()
        with pytest.raises(luacell.LuaInvalidArgumentError):
            await run.resume_async()
        run = await lua.start_async("error('no')")
        with pytest.raises(luacell.LuaRuntimeError):
            run.result()
        run = await lua.start_async("ask()")
        with pytest.raises(luacell.LuaBusyError):
            await lua.start_async("return 1")
        run.cancel()

    asyncio.run(main(), debug=True)


def test_cancelling_on_asyncio_interrupts_the_run(lua: luacell.Sandbox) -> None:
    async def main() -> None:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        lua.register("begun", lambda: loop.call_soon_threadsafe(begun.set) and None)
        endless = "while true do pcall(error) end"
        for part in (f"begun() {endless}", f"ask() begun() {endless}"):
            begun.clear()
            run = None
            if "ask" in part:
                run = await lua.start_async(part, timeout=None)
                run.answer(1)
                running = asyncio.ensure_future(run.resume_async())
            else:
                running = asyncio.ensure_future(lua.start_async(part, timeout=None))  # type: ignore[arg-type]
            await begun.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert lua.compute("return 1") == 1
            if run is not None:
                with pytest.raises(luacell.LuaInterruptedError):
                    run.result()
        # One that came with a snapshot has no canceller of its own.
        waiting = lua.start(f"ask() begun() {endless}")
        fork = lua.fork()
        waiting.cancel()
        taken = fork.waiting_run()
        assert taken is not None
        taken.answer(1)
        begun.clear()
        running = asyncio.ensure_future(taken.resume_async())
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert fork.compute("return 1") == 1

    asyncio.run(main(), debug=True)


def test_runs_take_turns_instead_of_colliding(tmp_path: Path) -> None:
    path = str(tmp_path / "state.luacell")

    async def one(lua: luacell.Sandbox) -> None:
        async def price() -> int:
            await asyncio.sleep(0.002)
            return 1

        lua.register("price", price)
        await lua.compute_async("_home.n = (_home.n or 0) + price()")

    async def all_of_them() -> None:
        sandboxes = [luacell.Sandbox(store=path, queue_runs=True, conflict_retries=0) for _ in range(10)]
        await asyncio.gather(*map(one, sandboxes))
        assert sandboxes[0].home["n"] == 10

    asyncio.run(all_of_them())


def test_a_start_that_is_cancelled_leaves_no_run_behind(tmp_path: Path) -> None:
    path = str(tmp_path / "state.luacell")

    async def main() -> None:
        lua, other = luacell.Sandbox(store=path), luacell.Sandbox(store=path)
        lua.declare("ask")
        running = asyncio.ensure_future(lua.start_async("ask()", durable="r"))
        await asyncio.sleep(0)
        # It waits before the event loop hears of it.
        while not other.pending_runs():
            pass
        running.cancel()
        # Whoever keeps the exception keeps all that led to it.
        with pytest.raises(asyncio.CancelledError) as kept:
            await running
        assert other.pending_runs()[0].claimed is None
        other.declare("ask")
        other.resume("r").close()
        assert kept.value is not None

    asyncio.run(main())


def test_who_would_block_the_event_loop_that_the_turns_run_needs_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "state.luacell")

    async def main() -> None:
        lua, other, holder = (luacell.Sandbox(store=path, queue_runs=True) for _ in range(3))
        asked, answer = asyncio.Event(), asyncio.Event()

        async def ask() -> int:
            asked.set()
            await answer.wait()
            return 1

        lua.register("ask", ask)
        holder.declare("ask")
        running = asyncio.ensure_future(lua.compute_async("return ask()"))
        await asked.wait()
        with pytest.raises(luacell.LuaBusyError):
            other.compute("return 2")
        answer.set()
        assert await running == 1
        assert other.compute("return 2") == 2
        # A run that was started has the turn of the thread that answers it.
        run = await holder.start_async("ask() return ask()")
        for part in (1, 2):
            with pytest.raises(luacell.LuaBusyError):
                other.compute("return 2")
            run.answer(run.requests[0].id, part)
            await run.resume_async()
        assert run.result() == 2
        assert other.compute("return 2") == 2

    asyncio.run(main())
