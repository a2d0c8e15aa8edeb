"""Runs on asyncio: Lua runs on a worker thread, so that the event loop stays free; while a script waits for an `async def`
function, no thread is taken."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ._luacell import _Call
    from ._sandbox import Sandbox


class Driver:
    """One run and its event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        self.wanted = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ended = False

    def wake(self) -> None:
        """The run can go on. Called from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.wanted.set)
        except RuntimeError:
            pass  # the loop is closed

    def start(self, function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], call: _Call) -> Callable[[], None]:
        """Runs an `async def` function as a task of the loop; called on the worker thread. Gives what cancels it."""
        task: asyncio.Task[Any] | None = None
        cancelled = False

        def begin() -> None:
            nonlocal task
            if cancelled or self.ended:
                return

            async def run() -> Any:
                return await function(*args)

            task = self.loop.create_task(run())
            self.tasks.add(task)
            task.add_done_callback(done)

        def done(task: asyncio.Task[Any]) -> None:
            self.tasks.discard(task)
            if task.cancelled():
                call.raised(asyncio.CancelledError())
            elif (exception := task.exception()) is not None:
                call.raised(exception)
            else:
                call.returned(task.result())

        def cancel() -> None:
            nonlocal cancelled
            cancelled = True
            if task is not None:
                task.cancel()

        self.loop.call_soon_threadsafe(begin, context=self.context)

        def cancel_soon() -> None:
            try:
                self.loop.call_soon_threadsafe(cancel)
            except RuntimeError:
                pass  # the loop is closed

        return cancel_soon

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


async def drive(
    sandbox: Sandbox, is_call: bool, code: str | bytes, args: tuple[Any, ...], name: str | None, limits: dict[str, Any] | None
) -> Any:
    """Runs to the end. When the task is cancelled, the script is interrupted. When this returns, the sandbox is free again and no host function
    of the run goes on."""
    driver = Driver()
    run = sandbox._start(driver, is_call, code, args, name, limits)
    polling: asyncio.Future[bool] | None = None
    try:
        while True:
            driver.wanted.clear()
            polling = driver.loop.run_in_executor(None, driver.context.copy().run, run.poll)
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
