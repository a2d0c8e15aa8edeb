"""Ratios to lupa in one run; `cargo xtask bench` shows them too. Both sides take turns, so that a machine that slows down for a while favours neither.

Prints a line for each measurement: what, lupa's nanoseconds, ours, the ratio, the goal; separated by tabs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import lupa.lua54 as lupa

import luacell


def timed(function: Callable[[], object], times: int) -> float:
    """Nanoseconds of processor time of one call."""
    loop = range(times)
    start = time.thread_time_ns()
    for _ in loop:
        function()
    return (time.thread_time_ns() - start) / times


def compare(what: str, theirs: Callable[[], object], ours: Callable[[], object], rounds: int, times: int, goal: float | None) -> None:
    theirs(), ours()
    pairs = [(timed(theirs, times), timed(ours, times)) for _ in range(rounds)]
    show(what, statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), statistics.median(b / a for a, b in pairs), goal)


def show(what: str, theirs: float, ours: float, ratio: float, goal: float | None) -> None:
    verdict = "" if goal is None else f"at most {goal:.1f}: {'met' if ratio <= goal else 'MISSED'}"
    print(what, f"{theirs:.0f}", f"{ours:.0f}", f"{ratio:.2f}", verdict, sep="\t", flush=True)


def records(n: int) -> list[dict[str, Any]]:
    return [{"id": i, "name": f"record {i}", "value": i * 0.5} for i in range(n)]


def lua_table(runtime: Any, value: Any) -> Any:
    return runtime.table_from(value, recursive=True)


def start_up(code: str) -> float:
    """Milliseconds of processor time of a whole interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def used() -> float:
        times = os.times()
        return times.children_user + times.children_system

    before = used()
    for _ in range(5):
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return (used() - before) / 5 * 1e3


def cold(rounds: int) -> None:
    ours = "import luacell; luacell.Sandbox().compute('return 1')"
    pairs = [(start_up("pass"), start_up(ours)) for _ in range(rounds)]
    more = statistics.median(b - a for a, b in pairs)
    bare, whole = (statistics.median(column) for column in zip(*pairs))
    verdict = "met" if more <= 15 else "MISSED"
    print("import and first result / a bare interpreter", f"{bare * 1e6:.0f}", f"{whole * 1e6:.0f}", f"+{more:.1f} ms", f"at most +15 ms: {verdict}", sep="\t")


def scaling(rounds: int) -> None:
    """Eight threads with a sandbox each against one that does all the work."""
    source = "local n = 0 for i = 1, 2e6 do n = n + i % 7 end return n"

    def work(threads: int, runs: int) -> float:
        boxes = [luacell.Sandbox() for _ in range(threads)]
        workers = [threading.Thread(target=lambda box=box: [box.compute(source) for _ in range(runs)]) for box in boxes]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - start

    pairs = [(work(1, 16), work(8, 2)) for _ in range(rounds)]
    speed = statistics.median(a / b for a, b in pairs)
    one, eight = (statistics.median(column) * 1e9 for column in zip(*pairs))
    verdict = "met" if speed >= 1.7 else "MISSED"
    print("8 threads with sandboxes of their own / 1 thread", f"{one:.0f}", f"{eight:.0f}", f"{speed:.2f}x as fast", f"at least 1.7 on 2 cores: {verdict}", sep="\t")


async def waiting(rounds: int) -> None:
    """A thousand sandboxes that wait at the same time. No peer has this."""

    async def wait() -> None:
        await asyncio.sleep(0.1)

    boxes = [luacell.Sandbox() for _ in range(1000)]
    for box in boxes:
        box.register("wait", wait)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        await asyncio.gather(*(box.compute_async("wait()") for box in boxes))
        times.append(time.perf_counter() - start)
    took = statistics.median(times)
    verdict = "met" if took <= 0.5 else "MISSED"
    print("1,000 runs at a time that wait 100 ms each", "", f"{took * 1e9:.0f}", "", f"at most 500 ms: {verdict}", sep="\t", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    rounds = 7 if parser.parse_args().quick else 31
    gc.disable()
    theirs, ours = lupa.LuaRuntime(), luacell.Sandbox()
    compare("Sandbox() / LuaRuntime()", lupa.LuaRuntime, luacell.Sandbox, rounds, 100, 1.0)
    compare('compute("return 1+1") / execute', lambda: theirs.execute("return 1+1"), lambda: ours.compute("return 1+1"), rounds, 2000, 1.2)
    code = "function add(a, b) return a + b end"
    theirs.execute(code)
    ours.compute(code)
    add = theirs.globals().add
    compare('call("add", 1, 2) / a Lua function called', lambda: add(1, 2), lambda: ours.call("add", 1, 2), rounds, 5000, 3.0)
    function = ours.compute("return add")
    compare("a Lua function called, both", lambda: add(1, 2), lambda: function(1, 2), rounds, 5000, None)
    data = records(1000)
    code = "function count(t) return #t end"
    theirs.execute(code)
    ours.compute(code)
    count = theirs.globals().count
    compare(
        "1000 records of 3 fields in, list of dicts / table_from",
        lambda: count(lua_table(theirs, data)),
        lambda: ours.call("count", data),
        rounds,
        10,
        0.7,
    )
    code = "data = ... function get() return data end"
    ours.compute(code, data)
    compare("the same records out again / in", lambda: ours.call("count", data), lambda: ours.call("get"), rounds, 10, None)
    code = "local n = 0 for i = 1, 1000 do n = f(n, i) end return n"
    theirs.globals().f = lambda a, b: a + b
    ours.register("f", lambda a, b: a + b)
    compare("1000 calls of a Python function", lambda: theirs.execute(code), lambda: ours.compute(code), rounds, 10, None)
    cold(rounds)
    scaling(min(rounds, 5))
    asyncio.run(waiting(min(rounds, 5)))


if __name__ == "__main__":
    main()
