"""The threads that Lua runs on for asyncio. Python's own executors take no work once the main thread has ended, while loops of other threads go on."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Workers:
    """Starts a thread whenever none is idle. Python waits for them when it exits, as for any thread, but not for idle ones."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Callable[[], None] | None]] = []
        self._ending = False

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Calls the function on one of the threads. Raises RuntimeError when there can't be one more."""
        result: Future[Any] = Future()

        def job() -> None:
            try:
                value = function(*args)
            except BaseException as error:
                result.set_exception(error)
            else:
                result.set_result(value)

        try:
            # The one that was busy last has its memory at hand.
            self._idle.pop().put(job)
        except IndexError:
            threading.Thread(target=self._work, args=(job,), name="luacell", daemon=False).start()
        return result

    def _work(self, job: Callable[[], None] | None) -> None:
        jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        while job is not None:
            job()
            # Nothing of it outlives it here.
            del job
            self._idle.append(jobs)
            if self._ending:
                self.end_idle()
            job = jobs.get()

    def end_idle(self) -> None:
        """Python is about to wait for its threads."""
        self._ending = True
        while self._idle:
            try:
                self._idle.pop().put(None)
            except IndexError:
                break  # another thread took it
