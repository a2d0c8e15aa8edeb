"""Text of scripts on terminals."""

from __future__ import annotations


def escaped(text: str) -> str:
    """The text without anything that a terminal would obey: what can't be printed is shown as in a Python literal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
