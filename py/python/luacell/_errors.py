"""One exception class for each kind of error."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._luacell import Metrics

BY_KIND: dict[str, type[LuaCellError]] = {}


class LuaCellError(Exception):
    """Base of everything that luacell raises by itself.

    A Python exception that a host function raised, and that the script did not catch, is the `__cause__`.

    All text can be encoded, whatever the script did: bytes that are not UTF-8 are shown as `\\xff` in message and output, and as U+FFFD in chunk and
    traceback. Strings in `value` that are not UTF-8 are bytes.
    """

    #: The name of the kind, the same in every language.
    kind: str = "Internal"
    #: The chunk in which a Lua error happened, as Lua names it.
    chunk: str | None = None
    #: The line in the chunk, from 1.
    line: int | None = None
    #: Lua's traceback, several lines of text.
    traceback: str | None = None
    #: What the script printed before it failed.
    output: str = ""
    #: The Lua error value if it was not a string, as in `error({code = 7})`.
    value: Any = None
    #: What the script used before it failed.
    metrics: Metrics | None = None

    _native: object = None
    _raises = False

    def __init_subclass__(cls, kind: str | None = None) -> None:
        super().__init_subclass__()
        if kind is not None:
            cls.kind = kind
            BY_KIND[kind] = cls

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    @property
    def message(self) -> str:
        """The message; for a Lua error with the position in front, as in Lua."""
        return LuaCellError.__str__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "_native"}
        return type(self), self.args, state


class LuaSyntaxError(LuaCellError, SyntaxError, kind="Syntax"):
    """The source is not valid Lua. Has `msg`, `filename` and `lineno`, as a SyntaxError has."""

    def __init__(self, message: str = "") -> None:
        SyntaxError.__init__(self, message)
        self.msg = message

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "chunk":
            super().__setattr__("filename", value)
        elif name == "line":
            super().__setattr__("lineno", value)


class LuaRuntimeError(LuaCellError, RuntimeError, kind="Runtime"):
    """A Lua error that the script did not catch."""


class LuaMemoryError(LuaCellError, MemoryError, kind="Memory"):
    """The script needed more memory than it may have."""


class LuaInstructionLimitError(LuaCellError, kind="InstructionLimit"):
    """The script used up its instructions."""


class LuaTimeoutError(LuaCellError, TimeoutError, kind="Timeout"):
    """The script ran longer than it may."""


class LuaInterruptedError(LuaCellError, kind="Interrupted"):
    """Somebody called `interrupt`."""


class LuaOutputLimitError(LuaCellError, kind="OutputLimit"):
    """The script printed more than it may."""


class LuaStoreLimitError(LuaCellError, kind="StoreLimit"):
    """The script's tables hold more than they may."""


class LuaHostCallLimitError(LuaCellError, kind="HostCallLimit"):
    """The script called host functions more often than it may."""


_NOT_GIVEN: Any = object()


class LuaHostFunctionError(LuaCellError, kind="HostFunction"):
    """A host function failed; its exception is the `__cause__`.

    A host function may raise it too: with a message, which the script sees unchanged, or with `value`, to raise any Lua value as
    `error(value)` does in Lua.
    """

    def __init__(self, message: str = "", *, value: Any = _NOT_GIVEN) -> None:
        super().__init__(message)
        if value is not _NOT_GIVEN:
            self.value = value
            self._raises = True


class LuaConversionError(LuaCellError, TypeError, ValueError, kind="Conversion"):
    """A value can't be passed between Lua and Python."""


class LuaStoreError(LuaCellError, kind="Store"):
    """The table store failed. An exception of a store written in Python is the `__cause__`."""


class LuaConflictError(LuaCellError, kind="Conflict"):
    """Somebody else changed the same tables at the same time. A store's `commit` raises it to say so."""


class LuaTrapError(LuaCellError, kind="Trap"):
    """The guest crashed; the sandbox continues with a new guest and its kept tables."""


class LuaBusyError(LuaCellError, kind="Busy"):
    """Another caller is using the sandbox at the moment."""


class LuaClosedError(LuaCellError, kind="Closed"):
    """The sandbox was closed, or what the value belonged to is gone."""


class LuaInvalidArgumentError(LuaCellError, ValueError, kind="InvalidArgument"):
    """The caller passed something that makes no sense."""


class LuaInternalError(LuaCellError, kind="Internal"):
    """A fault in luacell itself."""
