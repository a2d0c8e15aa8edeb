"""`python -m luacell`: type Lua and see what it returns."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import luacell
from luacell._text import escaped

CHUNK = "=stdin"


def parse(lua: luacell.Sandbox, source: str) -> str | None:
    """What is wrong with the source, without running it; None when nothing is."""
    try:
        lua.compute(f"do return end {source}", name=CHUNK)
    except luacell.LuaSyntaxError as error:
        return error.message
    except luacell.LuaCellError:
        pass  # it parses; that is all that was asked
    return None


def unfinished(lua: luacell.Sandbox, source: str) -> bool:
    """Whether more has to come."""
    problems = [parse(lua, "return " + source), parse(lua, source)]
    return None not in problems and any((problem or "").endswith("<eof>") for problem in problems)


def shown(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return "(nested too deeply to be shown)"


def show_text(text: str) -> None:
    print(escaped(text) if sys.stdout.isatty() else text, end="")


def evaluate(lua: luacell.Sandbox, source: str) -> None:
    """Runs an expression or statements and shows the values."""
    expression = "return " + source.lstrip().removeprefix("=")
    result: Any = lua.compute(expression if parse(lua, expression) is None else source, name=CHUNK)
    if lua.outcome.count == 1:
        print(shown(result))
    elif lua.outcome.count > 1:
        print(*map(shown, result), sep="\t")


def read(lua: luacell.Sandbox) -> str:
    source = input("> ")
    while unfinished(lua, source):
        source += "\n" + input(">> ")
    return source


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m luacell", description="Type Lua and see what it returns. Ctrl-C stops a script, Ctrl-D ends.")
    parser.add_argument("--home", metavar="FILE|URL", help="keep _home in this file, or on the server with this URL")
    home = parser.parse_args().home
    if sys.stdin.isatty():
        try:
            import readline  # noqa: F401, gives input() a history
        except ImportError:
            pass
    with luacell.Sandbox(store=home, timeout=None, on_print=show_text) as lua:
        print(f"luacell {luacell.__version__}, {lua.compute('return _VERSION')}")
        while True:
            try:
                source = read(lua)
                if source.strip():
                    evaluate(lua, source)
            except KeyboardInterrupt:
                print("interrupted")
            except EOFError:
                print()
                return
            except luacell.LuaCellError as error:
                print(escaped(error.message))
                if error.traceback:
                    print(escaped(error.traceback))


if __name__ == "__main__":
    main()
