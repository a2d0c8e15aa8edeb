"""The conformance corpus that all languages share; its format is in core/tests/cases/README.md."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

import luacell

FOLDER = Path(__file__).parents[2] / "core" / "tests" / "cases"
NEEDS = {"args", "call", "input", "clock", "host_functions", "large", "limits", "modules", "reopen", "table_keys", "transactions", "waiting"}


def load() -> list[Any]:
    cases = []
    names = set()
    for file in sorted(FOLDER.glob("*.json")):
        for case in json.loads(file.read_text("utf-8")):
            assert case["name"] not in names, f"two cases are named {case['name']}"
            names.add(case["name"])
            cases.append(pytest.param(case, id=f"{file.stem}: {case['name']}"))
    assert cases, f"no case was found in {FOLDER}"
    return cases


def plain_bytes(json_value: Any) -> bytes:
    if isinstance(json_value, str):
        return json_value.encode()
    if "hex" in json_value:
        return bytes.fromhex(json_value["hex"])
    text, times = json_value["repeat"]
    return bytes(text.encode() * times)


def plain(json_value: Any) -> Any:
    """A value that is no table, as luacell gives it."""
    if json_value is None or isinstance(json_value, bool):
        return json_value
    if isinstance(json_value, dict) and "int" in json_value:
        return int(json_value["int"])
    if isinstance(json_value, dict) and "float" in json_value:
        return float(json_value["float"])
    data = plain_bytes(json_value)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def is_table(json_value: Any) -> bool:
    return isinstance(json_value, dict) and not json_value.keys().isdisjoint({"array", "table", "ref", "deep"})


def build(json_value: Any, named: dict[int, Any]) -> Any:
    if not is_table(json_value):
        return plain(json_value)
    if "ref" in json_value:
        return named[json_value["ref"]]
    if "deep" in json_value:
        value: Any = []
        for _ in range(json_value["deep"] - 1):
            value = [value]
        return value
    # What a dict would take for one key, or for none.
    keys = [key for key, _ in json_value.get("table", [])]
    odd = any(is_table(key) or isinstance(key, bool) for key in keys)
    table: Any = [] if "array" in json_value else luacell.Entries() if odd else {}
    if "id" in json_value:
        named[json_value["id"]] = table
    if "array" in json_value:
        table.extend(build(item, named) for item in json_value["array"])
        return table
    for key, item in json_value["table"]:
        pair = build(key, named), build(item, named)
        table.append(pair) if odd else table.__setitem__(*pair)
    return table


def same(expected: Any, value: Any) -> bool:
    """Equal bit by bit, except that every NaN equals every other."""
    if type(expected) is not type(value):
        return False
    if isinstance(expected, float):
        return (math.isnan(expected) and math.isnan(value)) or struct.pack("d", expected) == struct.pack("d", value)
    return bool(expected == value)


def entries(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, luacell.Entries):
        return list(value)
    if isinstance(value, list):
        return list(enumerate(value, 1))
    return list(value.items()) if isinstance(value, dict) else None


def identity(value: Any) -> object:
    return ("stored", value.id) if isinstance(value, luacell.Table) else id(value)


def matches(expected: Any, value: Any, seen: dict[int, object]) -> bool:
    if not isinstance(expected, dict):
        return same(plain(expected), value)
    assert len(expected.keys() - {"id"}) == 1, f"a value has one form: {expected}"
    if "any" in expected:
        return True
    if "function" in expected:
        return isinstance(value, luacell.Function)
    if "stored" in expected:
        return isinstance(value, luacell.Table) and matches(expected["stored"], value.to_python(), seen)
    if "ref" in expected:
        return seen[expected["ref"]] == identity(value)
    if "id" in expected:
        seen[expected["id"]] = identity(value)
    if "deep" in expected:
        left = expected["deep"]
        while isinstance(value, (list, dict)):
            left -= 1
            if len(value) != 1:
                return left == 0 and not value
            value = value[0]
        return False
    if "array" in expected:
        wanted = [(at, item) for at, item in enumerate(expected["array"], 1) if item is not None]
        return matches_entries([({"int": str(at)}, item) for at, item in wanted], value, seen)
    if "table" in expected:
        return matches_entries(expected["table"], value, seen)
    return same(plain(expected), value)


def matches_entries(expected: list[Any], value: Any, seen: dict[int, object]) -> bool:
    found = entries(value)
    if found is None or len(found) != len(expected):
        return False
    for key, item in expected:
        if is_table(key):
            fits = any(matches(key, k, seen) and matches(item, v, seen) for k, v in found)
        else:
            fits = any(same(plain(key), k) and matches(item, v, seen) for k, v in found)
        if not fits:
            return False
    return True


def register(lua: luacell.Sandbox, name: str) -> None:
    def add(a: int, b: int) -> int:
        return (a + b + 2**63) % 2**64 - 2**63

    def fail(message: str) -> None:
        raise luacell.LuaHostFunctionError(message)

    def raise_(value: object = None) -> None:
        raise luacell.LuaHostFunctionError(value=value)

    def call(function: Any, *args: Any) -> Any:
        return function(*args)

    functions: dict[str, Any] = {
        "host.echo": lambda *args: args,
        "host.add": add,
        "host.fail": fail,
        "host.raise": raise_,
        "host.call": call,
    }
    lua.register(name, functions[name])


LIMITS = {
    "memory_limit",
    "instruction_limit",
    "timeout",
    "output_limit",
    "store_limit",
    "store_entries",
    "host_call_limit",
    "source_limit",
}


@pytest.mark.parametrize("case", load())
def test_corpus(case: dict[str, Any]) -> None:
    assert case.keys() <= {"name", "needs", "limits", "functions", "declare", "modules", "steps"}
    assert set(case.get("needs", [])) <= NEEDS
    settings = dict(case.get("limits", {}))
    assert settings.keys() <= LIMITS
    if "timeout" in settings:
        settings["timeout"] /= 1000
    if "modules" in case:
        settings["modules"] = {name: plain_bytes(source) for name, source in case["modules"].items()}
    with luacell.Sandbox(**settings) as lua:
        for name in case.get("functions", []):
            register(lua, name)
        for name in case.get("declare", []):
            lua.declare(name)
        for number, step in enumerate(case["steps"], 1):
            for _ in range(step.get("times", 1)):
                run_step(lua, step, f"step {number}")


def run_step(lua: luacell.Sandbox, step: dict[str, Any], where: str) -> None:
    kinds = step.keys() & {"source", "source_hex", "source_parts", "call", "set_input", "reopen", "gc"}
    assert len(kinds) == 1 and step.keys() - kinds <= {"args", "chunk", "times", "waits", "values", "output", "error"}, where
    named: dict[int, Any] = {}
    args = [build(arg, named) for arg in step.get("args", [])]
    values: list[Any] = []
    output = ""
    result: Any = None
    try:
        if "waits" in step:
            run = lua.start_call(step["call"], *args) if "call" in step else lua.start(source_of(step), *args, name=step.get("chunk"))
            if not answer(run, step["waits"], where):
                return
            result = run.result()
        elif "call" in step:
            result = lua.call(step["call"], *args)
        elif "set_input" in step:
            lua.input = build(step["set_input"], {})
        elif "reopen" in step:
            lua.reset()
        elif "gc" in step:
            lua.gc()
        else:
            result = lua.compute(source_of(step), *args, name=step.get("chunk"))
        if not kinds & {"set_input", "reopen", "gc"}:
            outcome = lua.outcome
            output = outcome.output
            values = [] if outcome.count == 0 else [result] if outcome.count == 1 else list(result)
            assert len(values) == outcome.count
    except luacell.LuaCellError as error:
        assert "error" in step, f"{where}: {error!r}"
        check_error(error, step["error"], where)
        output = error.output
    else:
        assert "error" not in step, f"{where}: expected an error, got {values!r:.500}"
        if "values" in step:
            seen: dict[int, object] = {}
            fits = len(values) == len(step["values"]) and all(matches(e, v, seen) for e, v in zip(step["values"], values))
            if not fits:
                pytest.fail(f"{where}: expected {str(step['values']):.500}, got {repr(values):.500}")
    if "output" in step:
        assert output == shown_text(step["output"]), where


def answer(run: luacell.Run, waits: list[Any], where: str) -> bool:
    """Answers what a run waits for, each time that it waits. False when it is cancelled."""
    for wait in waits:
        assert run.waiting and wait.keys() <= {"requests", "answers"}, where
        requests = run.requests
        assert [(request.id, request.name) for request in requests] == [(e["id"], e["name"]) for e in wait["requests"]], where
        for expected, request in zip(wait["requests"], requests):
            assert expected.keys() <= {"id", "name", "args"}
            if "args" in expected:
                seen: dict[int, object] = {}
                fits = len(expected["args"]) == len(request.args)
                assert fits and all(matches(e, v, seen) for e, v in zip(expected["args"], request.args)), f"{where}: {request!r}"
        if "answers" not in wait:
            run.cancel()
            return False
        for given in wait["answers"]:
            assert len(given.keys() & {"values", "error"}) == 1 and given.keys() <= {"id", "values", "error"}
            if "error" in given:
                run.fail(given["id"], given["error"])
            else:
                named: dict[int, Any] = {}
                run.answer(given["id"], *(build(value, named) for value in given["values"]))
        run.resume()
    assert not run.waiting, f"{where}: it waits once more, for {run.requests!r}"
    return True


def shown_text(part: Any) -> str:
    """Output and messages are always text."""
    return plain_bytes(part).decode("utf-8", "backslashreplace")


def source_of(step: dict[str, Any]) -> str | bytes:
    if "source" in step:
        return str(step["source"])
    if "source_hex" in step:
        return bytes.fromhex(step["source_hex"])
    return b"".join(plain_bytes(part) for part in step["source_parts"])


def check_error(error: luacell.LuaCellError, expected: dict[str, Any], where: str) -> None:
    assert expected.keys() <= {"kind", "message", "message_contains", "line", "chunk", "traceback_contains"}
    shown = f"{where}: {error!r}"
    assert expected.get("kind", error.kind) == error.kind, shown
    if "message" in expected:
        assert error.message == shown_text(expected["message"]), shown
    assert expected.get("message_contains", "") in error.message, shown
    assert expected.get("line", error.line) == error.line, shown
    assert expected.get("chunk", error.chunk) == error.chunk, shown
    assert expected.get("traceback_contains", "") in (error.traceback or ""), shown
