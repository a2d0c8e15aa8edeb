"""Checks the conformance corpus: its form, and every case against plain PUC Lua 5.4.

    python3 core/tests/tools/check.py [--lua DIR] [NAME PART ...]

DIR holds the sources of Lua 5.4 (default: those of the crate lua-src in cargo's registry). Needs a C compiler.
Cases named in not-plain-lua.json (name or file -> reason) are checked in form only.
"""
import argparse
import glob
import json
import os
import pathlib
import re
import resource
import struct
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
CASES = HERE.parent / "cases"
ROOT = HERE.parent.parent.parent

NEEDS = {"args", "call", "input", "clock", "large", "limits", "host_functions", "modules", "reopen",
         "table_keys", "transactions", "waiting"}
CASE_FIELDS = {"name", "needs", "limits", "modules", "functions", "declare", "steps"}
ACTIONS = {"source", "source_hex", "source_parts", "call", "set_input", "reopen", "gc"}
STEP_FIELDS = ACTIONS | {"args", "chunk", "times", "values", "output", "error", "waits"}
ERROR_FIELDS = {"kind", "message", "message_contains", "line", "chunk", "traceback_contains"}
KINDS = {"Syntax", "Runtime", "Memory", "InstructionLimit", "Timeout", "Interrupted", "OutputLimit", "StoreLimit",
         "HostCallLimit", "HostFunction", "Conversion", "Store", "Conflict", "Trap", "Busy", "Closed",
         "InvalidArgument", "Internal"}
SECONDS = 60  # for one case
STATUS = [None, "Syntax", "Runtime", "Memory", "Conversion"]


class Bad(Exception):
    pass


# ---- the oracle -------------------------------------------------------------------------------------------------

def build(lua):
    out = ROOT / "target" / "oracle"
    out.mkdir(parents=True, exist_ok=True)
    program = out / "oracle"
    if program.exists() and program.stat().st_mtime > (HERE / "oracle.c").stat().st_mtime:
        return program
    if lua is None:
        home = os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo")
        found = sorted(glob.glob(home + "/registry/src/*/lua-src-551*/lua-5.4*"))
        if not found:
            sys.exit("no sources of Lua 5.4 found: give their directory with --lua")
        lua = found[-1]
    sources = []
    for path in sorted(pathlib.Path(lua).glob("*.c")):
        if path.name in ("lua.c", "luac.c", "onelua.c", "ltests.c", "liolib.c", "linit.c"):
            continue
        if path.name == "lbaselib.c":  # `load` takes text only
            text = path.read_text()
            line = 'const char *mode = luaL_optstring(L, 3, "bt");'
            assert text.count(line) == 1
            path = out / "lbaselib.c"
            path.write_text(text.replace(line, 'const char *mode = "t";'))
        sources.append(str(path))
    header = out / "oracle.h"
    header.write_text("#include <stddef.h>\nvoid oracle_write(const char *, size_t);\n")
    subprocess.check_call([
        os.environ.get("CC", "cc"), "-O2", "-w", "-I", lua, "-Dlua_writestring(s,l)=oracle_write((s),(l))",
        "-include", str(header), "-o", str(program), str(HERE / "oracle.c"), *sources, "-lm"])
    return program


class Oracle:
    """One plain Lua state in a process of its own."""

    def __init__(self, program, memory_limit=0):
        def roomy():
            resource.setrlimit(resource.RLIMIT_STACK, (1 << 29, resource.RLIM_INFINITY))
        self.process = subprocess.Popen([str(program), str(memory_limit)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, preexec_fn=roomy, env={"TZ": "UTC"})
        self.watchdog = threading.Timer(SECONDS, self.process.kill)
        self.watchdog.start()

    def part(self):
        return self.take(struct.unpack("<I", self.take(4))[0])

    def take(self, n):
        data = self.process.stdout.read(n)
        if len(data) != n:
            raise Bad(f"the oracle ended: {self.process.wait()}")
        return data

    def ask(self, operation, *parts):
        message = operation + b"".join(struct.pack("<I", len(p)) + p for p in parts)
        try:
            self.process.stdin.write(message)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Bad(f"the oracle ended: {self.process.wait()}") from None
        status = self.take(1)[0]
        return {"kind": STATUS[status], "output": self.part(), "data": self.part(), "traceback": self.part()}

    def close(self):
        self.watchdog.cancel()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()


# ---- values -----------------------------------------------------------------------------------------------------

class Table:
    """A decoded table: list of (key, value)."""

    def __init__(self):
        self.pairs = []


class Opaque:
    """A function."""


def as_bytes(v):
    if isinstance(v, str):
        return v.encode()
    if "hex" in v:
        return bytes.fromhex(v["hex"])
    return as_bytes(v["repeat"][0]) * v["repeat"][1]


def as_float(text):
    return float(text)


def encode(v, numbers, ids):
    """Corpus value -> bytes. `numbers` counts tables, `ids` maps ids to numbers."""
    if v is None:
        return b"\0"
    if v is True or v is False:
        return bytes([1, v])
    if isinstance(v, str) or "hex" in v or "repeat" in v:
        s = as_bytes(v)
        return b"\4" + struct.pack("<I", len(s)) + s
    if "int" in v:
        return b"\2" + struct.pack("<q", int(v["int"]))
    if "float" in v:
        return b"\3" + struct.pack("<d", as_float(v["float"]))
    if "deep" in v:
        numbers[0] += v["deep"]
        return (b"\x08" + struct.pack("<II", 1, 0)) * (v["deep"] - 1) + b"\x08" + struct.pack("<II", 0, 0)
    if "ref" in v:
        return b"\x09" + struct.pack("<I", ids[v["ref"]])
    if "id" in v:
        ids[v["id"]] = numbers[0]
    numbers[0] += 1
    if "array" in v:
        return b"\x08" + struct.pack("<II", len(v["array"]), 0) + b"".join(encode(x, numbers, ids) for x in v["array"])
    if "table" in v:
        return b"\x08" + struct.pack("<II", 0, len(v["table"])) + b"".join(
            encode(x, numbers, ids) for pair in v["table"] for x in pair)
    raise Bad(f"not a value to send: {v}")


def encode_all(values):
    numbers, ids = [0], {}
    return b"".join(encode(v, numbers, ids) for v in values)


def decode(data):
    """Bytes -> list of values: None, bool, int, float, bytes, Table, Opaque."""
    top, tables, at = [], [], 0
    frames = []  # [table, array count left, next index, pairs left, pending key or frames]
    nothing = object()
    while at < len(data) or frames:
        while frames and frames[-1][1] == 0 and frames[-1][3] == 0:
            frames.pop()
        if not frames and at >= len(data):
            break
        tag = data[at]
        at += 1
        new = None
        if tag == 0:
            v = None
        elif tag == 1:
            v = data[at] == 1
            at += 1
        elif tag == 2:
            v = struct.unpack_from("<q", data, at)[0]
            at += 8
        elif tag == 3:
            v = struct.unpack_from("<d", data, at)[0]
            at += 8
        elif tag == 4:
            n = struct.unpack_from("<I", data, at)[0]
            v = data[at + 4:at + 4 + n]
            at += 4 + n
        elif tag == 8:
            array, pairs = struct.unpack_from("<II", data, at)
            at += 8
            v = Table()
            tables.append(v)
            new = [v, array, 1, pairs, nothing]
        elif tag == 9:
            v = tables[struct.unpack_from("<I", data, at)[0]]
            at += 4
        elif tag == 10:
            v = Opaque()
            at += 4
        else:
            raise Bad(f"tag {tag}")
        if not frames:
            top.append(v)
        else:
            f = frames[-1]
            if f[1]:
                f[0].pairs.append((f[2], v))
                f[1] -= 1
                f[2] += 1
            elif f[4] is nothing:
                f[4] = v
            else:
                f[0].pairs.append((f[4], v))
                f[3] -= 1
                f[4] = nothing
        if new:
            frames.append(new)
    return top


def same(want, got, ids):
    """Is the decoded `got` what the corpus value `want` says?"""
    if isinstance(want, dict):
        if "any" in want:
            return True
        if "stored" in want:
            return isinstance(got, Table) and same(want["stored"], got, ids)
        if "function" in want:
            return isinstance(got, Opaque)
        if "int" in want:
            return type(got) is int and got == int(want["int"])
        if "float" in want:
            f = as_float(want["float"])
            if type(got) is not float:
                return False
            return (f != f and got != got) or struct.pack("<d", f) == struct.pack("<d", got)
        if "hex" in want or "repeat" in want:
            return isinstance(got, bytes) and as_bytes(want) == got
        if not isinstance(got, Table):
            return False
        if "ref" in want:
            return ids.get(want["ref"]) is got
        if "id" in want:
            ids[want["id"]] = got
        if "deep" in want:
            for _ in range(want["deep"] - 1):
                if len(got.pairs) != 1 or got.pairs[0][0] != 1 or not isinstance(got.pairs[0][1], Table):
                    return False
                got = got.pairs[0][1]
            return not got.pairs
        pairs = want["table"] if "table" in want else [
            [{"int": str(i + 1)}, v] for i, v in enumerate(want["array"])]
        if len(pairs) != len(got.pairs):
            return False
        left = list(got.pairs)
        for k, v in pairs:
            for i, (gk, gv) in enumerate(left):
                if (same_table_key(k, gk, ids) and same(v, gv, ids)):
                    del left[i]
                    break
            else:
                return False
        return True
    if isinstance(want, str):
        return isinstance(got, bytes) and want.encode() == got
    return type(got) is type(want) and got == want


def same_table_key(want, got, ids):
    if isinstance(want, dict) and ("table" in want or "array" in want or "ref" in want):
        return isinstance(got, Table) and same(want, got, ids)
    return same(want, got, ids)


def show(v, depth=0):
    """A decoded value as corpus JSON (shared tables written out)."""
    if v is None or isinstance(v, bool):
        return v
    if isinstance(v, int):
        return {"int": str(v)}
    if isinstance(v, float):
        return {"float": repr(v)}
    if isinstance(v, bytes):
        try:
            return v.decode()
        except UnicodeDecodeError:
            return {"hex": v.hex()}
    if isinstance(v, Opaque):
        return {"function": True}
    if depth > 8:
        return "..."
    keys = [k for k, _ in v.pairs]
    if keys == list(range(1, len(keys) + 1)):
        return {"array": [show(x, depth + 1) for _, x in v.pairs]}
    return {"table": [[show(k, depth + 1), show(x, depth + 1)] for k, x in v.pairs]}


# ---- cases ------------------------------------------------------------------------------------------------------

def source_of(step):
    if "source" in step:
        return step["source"].encode()
    if "source_hex" in step:
        return bytes.fromhex(step["source_hex"])
    return b"".join(as_bytes(p) for p in step["source_parts"])


def check_value(v, sent):
    if v is None or isinstance(v, (bool, str)):
        return
    if not isinstance(v, dict):
        raise Bad(f"plain JSON {v!r} as a value")
    fields = set(v) - {"id"}
    if len(fields) != 1:
        raise Bad(f"value with fields {sorted(v)}")
    field = fields.pop()
    if "id" in v and field not in ("array", "table"):
        raise Bad(f"id on {field}")
    x = v[field]
    if field == "array":
        for e in x:
            check_value(e, sent)
    elif field == "table":
        for k, e in x:
            check_value(k, sent)
            check_value(e, sent)
    elif field == "int":
        if not (isinstance(x, str) and -2**63 <= int(x) < 2**63):
            raise Bad(f"int {x!r}")
    elif field == "float":
        if not isinstance(x, str):
            raise Bad(f"float {x!r}")
        as_float(x)
    elif field in ("hex", "repeat"):
        as_bytes(v)
    elif field in ("ref", "deep"):
        if type(x) is not int or x < 1:
            raise Bad(f"{field} {x!r}")
    elif field in ("function", "any", "stored") and not sent:
        if field == "stored":
            check_value(x, sent)
        elif x is not True:
            raise Bad(f"{field} {x!r}")
    else:
        raise Bad(f"value {field} here")


def check_wait(wait):
    if set(wait) - {"requests", "answers"} or "requests" not in wait:
        raise Bad(f"wait {wait}")
    for request in wait["requests"]:
        if set(request) - {"id", "name", "args"} or type(request["id"]) is not int or type(request["name"]) is not str:
            raise Bad(f"request {request}")
        for v in request.get("args", []):
            check_value(v, False)
    for answer in wait.get("answers", []):
        if set(answer) - {"id", "values", "error"} or ("values" in answer) == ("error" in answer):
            raise Bad(f"answer {answer}")
        for v in answer.get("values", []):
            check_value(v, True)


def check_form(case):
    if set(case) - CASE_FIELDS:
        raise Bad(f"fields {sorted(set(case) - CASE_FIELDS)}")
    needs = case.get("needs", [])
    if set(needs) - NEEDS or len(set(needs)) != len(needs):
        raise Bad(f"needs {needs}")
    implied = set()
    if "limits" in case:
        implied.add("limits")
        if not all(type(x) is int for x in case["limits"].values()):
            raise Bad("limits are whole numbers")
    if "functions" in case:
        implied.add("host_functions")
        if not all(type(name) is str for name in case["functions"]):
            raise Bad("functions are names")
    if "declare" in case:
        implied.add("waiting")
        if not all(type(name) is str for name in case["declare"]):
            raise Bad("declared functions are names")
    if "modules" in case:
        implied.add("modules")
        for source in case["modules"].values():
            as_bytes(source)
    if not case["steps"]:
        raise Bad("no steps")
    for step in case["steps"]:
        if set(step) - STEP_FIELDS:
            raise Bad(f"fields {sorted(set(step) - STEP_FIELDS)}")
        actions = set(step) & ACTIONS
        if len(actions) != 1:
            raise Bad(f"a step that does {sorted(actions)}")
        action = actions.pop()
        implied |= {"call": {"call"}, "set_input": {"input"}, "reopen": {"reopen"}}.get(action, set())
        if "args" in step:
            implied.add("args")
            for v in step["args"]:
                check_value(v, True)
        if "waits" in step:
            implied.add("waiting")
            for wait in step["waits"]:
                check_wait(wait)
        if "chunk" in step:
            implied.add("args")  # the same export
        if action == "set_input":
            check_value(step["set_input"], True)
        for v in step.get("values", []):
            check_value(v, False)
        if "error" in step:
            if "values" in step:
                raise Bad("values of an error")
            if set(step["error"]) - ERROR_FIELDS or step["error"].get("kind") not in KINDS:
                raise Bad(f"error {step['error']}")
        if action.startswith("source"):
            if len(source_of(step)) > 60000:
                implied.add("large")
    if implied - set(needs):
        raise Bad(f"needs {sorted(implied - set(needs))} too")


def one_line(m):
    return m if len(m) < 300 else m[:300] + b"..."


def offer_modules(oracle, modules):
    for name, source in modules.items():
        oracle.ask(b"P", name.encode(), as_bytes(source))


def check_step(oracle, step, modules):
    if "reopen" in step:
        oracle.ask(b"R")
        offer_modules(oracle, modules)
        return
    if "gc" in step:
        oracle.ask(b"G")
        return
    if "set_input" in step:
        oracle.ask(b"I", encode_all([step["set_input"]]))
        return
    args = encode_all(step.get("args", []))
    if "call" in step:
        got = oracle.ask(b"K", step["call"].encode(), args)
        source = b""
    else:
        source = source_of(step)
        got = oracle.ask(b"C", step.get("chunk", "").encode(), source, args)
    if "output" in step and as_bytes(step["output"]) != got["output"]:
        raise Bad(f"output {one_line(got['output'])!r}")
    if "error" in step:
        want, message = step["error"], got["data"]
        if got["kind"] is None:
            raise Bad(f"no error, but {json.dumps([show(v) for v in decode(got['data'])])[:300]}")
        if got["kind"] != want["kind"]:
            raise Bad(f"{got['kind']}: {one_line(message)!r}")
        if "message" in want and as_bytes(want["message"]) != message:
            raise Bad(f"message {one_line(message)!r}")
        if "message_contains" in want and as_bytes(want["message_contains"]) not in message:
            raise Bad(f"message {one_line(message)!r}")
        place = re.match(rb"(.*?):(\d+): ", message, re.S)
        if "line" in want and (not place or int(place[2]) != want["line"]):
            raise Bad(f"line of {one_line(message)!r}")
        if "chunk" in want and (not place or place[1] != as_bytes(want["chunk"])):
            raise Bad(f"chunk of {one_line(message)!r}")
        if "traceback_contains" in want and as_bytes(want["traceback_contains"]) not in got["traceback"]:
            raise Bad(f"traceback {got['traceback']!r}")
        return
    if got["kind"] is not None:
        raise Bad(f"{got['kind']}: {one_line(got['data'])!r}")
    if "values" in step:
        values = decode(got["data"])
        ids = {}
        if len(values) != len(step["values"]) or not all(
                same(w, g, ids) for w, g in zip(step["values"], values)):
            raise Bad("values " + json.dumps([show(v) for v in values], ensure_ascii=False)[:1000])


def run_case(program, case):
    oracle = Oracle(program, case.get("limits", {}).get("memory_limit", 0))
    try:
        offer_modules(oracle, case.get("modules", {}))
        for i, step in enumerate(case["steps"]):
            for _ in range(step.get("times", 1)):
                try:
                    check_step(oracle, step, case.get("modules", {}))
                except Bad as bad:
                    raise Bad(f"step {i + 1}: {bad}") from None
    finally:
        oracle.close()


def load_cases():
    for path in sorted(CASES.glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8")):
            yield path.name, case


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--lua")
    options.add_argument("parts", nargs="*")
    options = options.parse_args()
    program = build(options.lua)
    not_plain = json.loads((HERE / "not-plain-lua.json").read_text())
    names, failed, ran, skipped, used = set(), 0, 0, 0, set()
    for file, case in load_cases():
        name = case["name"]
        if options.parts and not any(p in name or p in file for p in options.parts):
            continue
        try:
            if name in names:
                raise Bad("name used twice")
            names.add(name)
            check_form(case)
            exempt = {name, file} & set(not_plain)
            used |= exempt
            # Plain Lua has neither hosts nor these limits.
            if exempt or {"functions", "declare"} & set(case) or set(case.get("limits", {})) - {"memory_limit"}:
                skipped += 1
                continue
            ran += 1
            run_case(program, case)
        except Bad as bad:
            failed += 1
            print(f"{file}: {name}: {bad}")
    if not options.parts:
        for name in set(not_plain) - used:
            failed += 1
            print(f"not-plain-lua.json: no case or file {name}")
    print(f"{len(names)} cases: {ran} agree with plain Lua but for {failed}, {skipped} checked in form only")
    if failed or not names:
        sys.exit(1)


if __name__ == "__main__":
    main()
