"""A rules engine: orders go in, rules written in Lua decide, and counters are kept. A rule that never ends is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import luacell

RULES = Path(__file__).parent.parent / "rules.lua"

ORDERS: list[dict[str, Any]] = [
    {"customer": "Ada", "box": 4, "items": [{"article": "tea", "count": 2}, {"article": "cake", "count": 1}]},
    {"customer": "Ada", "box": 4, "items": [{"article": "moon", "count": 1}]},
    {"customer": "Grace", "box": 4, "items": [{"article": "tea", "count": 10}]},
    {"customer": "Eve", "box": 0, "items": [{"article": "tea", "count": 1}]},
    {"customer": "Ada", "box": 1, "items": [{"article": "tea", "count": 1}]},
]


def main() -> None:
    with luacell.Sandbox(instruction_limit=100_000) as lua:

        @lua.function
        def price(article: str) -> float | None:
            return {"tea": 3.5, "cake": 2.25}.get(article)

        lua.compute(RULES.read_text(), name="=rules")
        for number, order in enumerate(ORDERS, 1):
            lua.input = order
            try:
                answer = lua.call("decide")
            except luacell.LuaInstructionLimitError:
                answer = "stopped"
            except luacell.LuaRuntimeError as error:
                answer = f"refused: {error}"
            print(f"order {number}: {answer}")
        print(lua.call("report"))


if __name__ == "__main__":
    main()
