"""Runs on asyncio: Lua runs on a worker thread, so that the event loop stays free; while a script waits for an awaitable
that a host function returned, no thread is taken. How many run at a time the core decides."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
import types
from typing import TYPE_CHECKING, Any

from ._workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._luacell import Run, _Call, _Driven
    from ._sandbox import Sandbox


_threads = Workers()

# The runs of each loop that has any.
_runs: dict[asyncio.AbstractEventLoop, set[tuple[Driver, _Driven]]] = {}

# Whether Python is about to exit: it only waits for threads that are no daemons.
_exiting = False


def _forget_threads() -> None:
    """A process that forked has none of them."""
    global _threads
    _threads = Workers()
    _runs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _exit() -> None:
    """Before Python waits for its threads: what runs for a loop that goes on no more would hold it up, perhaps for ever."""
    global _exiting
    _exiting = True
    for runs in list(_runs.values()):
        for driver, run in list(runs):
            if not driver.is_waited_for():
                run.interrupt()
    _threads.end_idle()


try:
    threading._register_atexit(_exit)  # type: ignore[attr-defined]
except RuntimeError:
    _exit()  # the main thread has ended already


def end_lost() -> None:
    """Ends the runs of loops that were closed before they had ended: nobody else would, and their sandboxes could not be used any more."""
    lost = [runs for loop, runs in list(_runs.items()) if loop.is_closed() and _runs.pop(loop, None) is not None]
    for runs in lost:
        for _, run in list(runs):
            run.end()


def discard(awaitable: object) -> None:
    """A coroutine that nobody has awaited would complain. One that somebody awaits is theirs."""
    if isinstance(awaitable, types.CoroutineType) and inspect.getcoroutinestate(awaitable) == inspect.CORO_CREATED:
        awaitable.close()


class Driver:
    """One run and its event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = threading.current_thread()
        self.context = contextvars.copy_context()
        self.wanted = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.cancels: set[Callable[[], None]] = set()
        self.ended = False

    def is_waited_for(self) -> bool:
        """Whether Python does not exit as long as the loop runs."""
        ends = self.thread.daemon or self.thread is threading.main_thread()
        return self.loop.is_running() and not ends

    def wake(self) -> None:
        """The run can go on. Called from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.wanted.set)
        except RuntimeError:
            pass  # the loop is closed

    def poll(self, run: _Driven) -> asyncio.Future[bool]:
        """Has a thread go on with the run, when its turn comes; whether it has ended."""
        polled: asyncio.Future[bool] = self.loop.create_future()

        def tell(set_: Callable[[Any], None], value: object) -> None:
            def settle() -> None:
                if not polled.done():
                    set_(value)

            try:
                self.loop.call_soon_threadsafe(settle)
            except RuntimeError:
                pass  # the loop is closed

        def work() -> None:
            try:
                done = run.poll()
            except BaseException as error:
                tell(polled.set_exception, error)
            else:
                tell(polled.set_result, done)

        def begin(has_place: bool) -> bool:
            if not has_place:
                tell(polled.set_result, True)
                return False
            try:
                if _exiting and not self.is_waited_for():
                    raise RuntimeError("Python is shutting down")
                _threads.submit(self.context.copy().run, work)
            except RuntimeError as error:  # there is no thread
                tell(polled.set_exception, error)
                return False
            return True

        run.enqueue(begin)
        return polled

    def start(self, awaitable: Awaitable[Any], call: _Call) -> Callable[[], None]:
        """Awaits in a task of the loop; called on the worker thread. Gives what cancels it."""
        task: asyncio.Task[Any] | None = None
        cancelled = False

        def begin() -> None:
            nonlocal task
            if cancelled or self.ended:
                return discard(awaitable)

            async def run() -> Any:
                return await awaitable

            task = self.loop.create_task(run())
            self.tasks.add(task)
            self.cancels.add(cancel)
            task.add_done_callback(done)

        def done(task: asyncio.Task[Any]) -> None:
            self.tasks.discard(task)
            self.cancels.discard(cancel)
            discard(awaitable)
            if task.cancelled():
                call.raised(asyncio.CancelledError())
            elif (exception := task.exception()) is not None:
                call.raised(exception)
            else:
                call.returned(task.result())

        def cancel() -> None:
            nonlocal cancelled
            if not cancelled and task is not None:
                task.cancel()
            cancelled = True

        self.loop.call_soon_threadsafe(begin, context=self.context)

        def cancel_soon() -> None:
            try:
                self.loop.call_soon_threadsafe(cancel)
            except RuntimeError:
                pass  # the loop is closed

        return cancel_soon

    def cancel(self) -> None:
        """The run is cancelled, and so are the host functions that it waits for, at once: asyncio makes one of two cancels of which the task has not seen the first."""
        self.ended = True
        for cancel in list(self.cancels):
            cancel()

    def cancel_again(self) -> None:
        """Somebody is impatient, and may be with a host function that has only begun to clean up."""
        for task in self.tasks:
            task.cancel()

    async def finish(self) -> None:
        """The run is over and has cancelled the host functions that it waited for: waits until they are done."""
        self.ended = True
        cancelled: asyncio.CancelledError | None = None
        while self.tasks:
            try:
                await asyncio.wait(self.tasks)
            except asyncio.CancelledError as error:
                cancelled = error
                self.cancel_again()
        if cancelled is not None:
            raise cancelled


async def close(sandbox: Sandbox) -> None:
    """Closes on another thread."""
    await asyncio.shield(asyncio.wrap_future(_threads.submit(sandbox.close)))


async def drive(start: Callable[[Driver], _Driven]) -> Any:
    """Runs to the end. When the task is cancelled, the script is interrupted. When this returns, the sandbox is free again and no host function
    of the run goes on."""
    driver = Driver()
    if driver.loop not in _runs:
        end_lost()
    run = start(driver)
    runs = _runs.setdefault(driver.loop, set())
    runs.add((driver, run))
    try:
        return await _drive(driver, run)
    finally:
        runs.discard((driver, run))
        if not runs:
            _runs.pop(driver.loop, None)


async def _drive(driver: Driver, run: _Driven) -> Any:
    polling: asyncio.Future[bool] | None = None
    try:
        while True:
            driver.wanted.clear()
            polling = driver.poll(run)
            if await asyncio.shield(polling):
                break
            await driver.wanted.wait()
    except GeneratorExit:
        # Nothing can be awaited any more.
        run.interrupt()
        run.stop()
        raise
    except BaseException:
        run.interrupt()
        driver.cancel()
        while polling is not None and not polling.done():
            try:
                await asyncio.wait([polling])
            except asyncio.CancelledError:
                driver.cancel_again()
        run.stop()
        await driver.finish()
        raise
    await driver.finish()
    return run.result()


async def begin(run: Run) -> None:
    """Begins a run, which is the caller's when this returns. When it is cancelled, nobody has it: it does not wait for when Python frees it."""
    try:
        await go(run)
    except BaseException:
        run.close()
        raise


async def go(run: Run) -> None:
    """Begins a run that Python holds, or lets it go on."""
    try:
        await drive(run._go)
    finally:
        run._went()
