"""Lets a language model write a script that calls tools, and runs it so that it survives the end of this process.

    python agent.py HOME SERVER TOPIC

HOME is the file that the run and its report are kept in. Killed at any moment and started again, this program goes on
where the script waited last: no call whose answer was stored is made again.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luacell import Sandbox

HERE = Path(__file__).parent
TOOLS: list[dict[str, str]] = json.loads((HERE / "tools.json").read_text())
PROMPT = (HERE / "prompt.txt").read_text().replace("TOOLS", "\n".join(f"- {tool['description']}" for tool in TOOLS))
MAIN = (HERE / "main.lua").read_text()


class ToolError(Exception):
    """What a script may catch. Any other exception ends the program, and the run waits for its next start."""


async def call(server: str, tool: str, key: str, args: Sequence[Any]) -> Any:
    if tool == "task.sleep":
        return await asyncio.sleep(args[0])
    try:
        body = json.dumps({"key": key, "args": args}, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ToolError(str(error)) from error
    return await asyncio.to_thread(post, f"{server}/{tool}", body)


def post(url: str, body: bytes) -> Any:
    try:
        with urllib.request.urlopen(url, body, timeout=60) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise ToolError(json.load(error)) from error


async def run_report(lua: Sandbox, server: str, topic: str) -> None:
    for tool in TOOLS:
        lua.declare(tool["name"])
    if any(pending.name == topic for pending in lua.pending_runs()):
        run = lua.resume(topic)
    else:
        script = await call(server, "write", f"{topic}/script", [PROMPT])
        run = lua.start(MAIN, script, topic, name="=main", durable=topic)
    calls: dict[int, asyncio.Task[Any]] = {}
    while run.waiting:
        requests = run.requests
        for request in requests:
            if request.id not in calls:
                answer = call(server, request.name, f"{topic}/{request.id}", request.args)
                calls[request.id] = asyncio.create_task(answer)
        await asyncio.wait([calls[request.id] for request in requests], return_when=asyncio.FIRST_COMPLETED)
        for request in requests:
            if calls[request.id].done():
                try:
                    run.answer(request.id, calls[request.id].result())
                except ToolError as error:
                    run.fail(request.id, error)
        run.resume()
    run.result()


def main(home: str, server: str, topic: str) -> None:
    with Sandbox(store=home, timeout=5, memory_limit="32MiB") as lua:
        if topic not in lua.home.get("reports", {}):
            asyncio.run(run_report(lua, server, topic))
        print(json.dumps(lua.home.to_python()["reports"][topic], indent=2))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
