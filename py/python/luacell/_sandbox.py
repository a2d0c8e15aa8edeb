"""The sandbox: the native part, host functions, asyncio."""

from __future__ import annotations

from ._errors import LuaInvalidArgumentError
from ._luacell import _SandboxBase
from ._objects import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar, overload

    from typing_extensions import Self, Unpack

    from ._luacell import Limits, Run

    F = TypeVar("F", bound=Callable[..., Any])
else:

    def overload(function):
        return None


def _name_of(function: Any) -> str:
    """The name under which a function is registered that comes without one."""
    if not callable(function):
        raise LuaInvalidArgumentError(f"function has to be callable, or a name, not {type(function).__name__}")
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise LuaInvalidArgumentError(f"function: a {type(function).__name__} has no name; use register")
    return name


def _attributes(instance: object) -> list[tuple[str, Any]]:
    """What a subclass keeps in an object, in its dict and in slots."""
    found = list(getattr(instance, "__dict__", {}).items())
    for cls in type(instance).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            name = f"_{cls.__name__.lstrip('_')}{slot}" if slot.startswith("__") and not slot.endswith("__") else slot
            if name not in ("__dict__", "__weakref__") and hasattr(instance, name):
                found.append((name, getattr(instance, name)))
    return found


class Sandbox(_SandboxBase):
    __doc__ = _SandboxBase.__doc__
    __slots__ = ()

    @staticmethod
    def wrap(
        object: object,
        /,
        *,
        methods: Iterable[str] | None = None,
        fields: Iterable[str] | None = None,
        writable: Iterable[str] | None = None,
        name: str | None = None,
    ) -> Any:
        """The same as luacell.wrap."""
        return wrap(object, methods=methods, fields=fields, writable=writable, name=name)

    def register(self, name: str, function: Callable[..., Any], /, *, repeatable: bool = False) -> None:
        """Makes a Python function callable from Lua, as the global of that name; dots put it into tables: "shop.price".

        The function gets its arguments in the form in which compute returns results, and may return any value; a tuple means several results. It
        runs on the thread that runs the script and may use the sandbox. What it raises is an error that pcall can catch. If nothing in the script
        catches it, it is the `__cause__` of the exception that the run raises. In compute_async and call_async it may return an awaitable, as `async def`
        functions do: the script waits for it, and it is awaited on the event loop.

        repeatable says that the function may be called again when a run is repeated after a conflict in the store.
        """
        self._register(name, function, repeatable=repeatable)

    @overload
    def function(self, function: F, /) -> F: ...
    @overload
    def function(self, name: str | None = None, /, *, repeatable: bool = False) -> Callable[[F], F]: ...
    def function(self, function: Any = None, /, *, repeatable: bool = False) -> Any:
        """Decorator: makes a Python function callable from Lua, under its own name or the given one.

        >>> @lua.function
        ... def price(article): ...
        >>> @lua.function("shop.price", repeatable=True)
        ... def price(article): ...
        """
        if function is not None and not isinstance(function, str):
            self.register(_name_of(function), function, repeatable=repeatable)
            return function

        def register(decorated: Any) -> Any:
            self.register(_name_of(decorated) if function is None else function, decorated, repeatable=repeatable)
            return decorated

        return register

    def fork(self) -> Self:
        """A second sandbox in the same state as this one, with the same settings and host functions, and independent of it from now on. Its
        tables are a copy in memory, whatever store this one has. The fork of a subclass is an object of that class with the same attributes;
        neither `__new__` nor `__init__` of the class is called for it.
        """
        fork = _SandboxBase.__new__(type(self), **self._settings())
        for name, value in _attributes(self):
            object.__setattr__(fork, name, value)
        for name, function, repeatable in self._registered():
            if function is None:
                fork.declare(name)
            else:
                fork._register(name, function, repeatable=repeatable)
        fork._become(self.snapshot())
        return fork

    async def compute_async(
        self, code: str | bytes, /, *args: Any, name: str | None = None, **limits: Unpack[Limits]
    ) -> Any:
        """Like compute, for asyncio. Lua runs on one of luacell's own threads; while the script waits for what a host function awaits it takes
        up no thread. Host functions are called on the thread that runs Lua. If many scripts compute, some wait for their turn; that time does not count.

        When the task is cancelled, the script is interrupted, and what it wrote to stored tables is dropped, unless it had just finished. A host
        function that the script waits for is cancelled too. Once the task has ended, both have ended, and the sandbox can be used again.
        """
        from ._async import drive

        return await drive(lambda driver: self._drive(driver, False, code, args, name, dict(limits)))

    async def aclose(self) -> None:
        """Like close, for asyncio: the event loop is not blocked while this waits for a host function."""
        from ._async import close

        await close(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def call_async(self, path: str, /, *args: Any, **limits: Unpack[Limits]) -> Any:
        """Like call, for asyncio; see compute_async."""
        from ._async import drive

        return await drive(lambda driver: self._drive(driver, True, path, args, None, dict(limits)))

    async def start_async(
        self, code: str | bytes, /, *args: Any, name: str | None = None, durable: str | None = None, **limits: Unpack[Limits]
    ) -> Run:
        """Like start, for asyncio: Lua runs on one of luacell's own threads, until the run is done or waits. Afterwards the run is the event
        loop's thread's: answer it there, and let it go on with `await run.resume_async()`.
        """
        from ._async import begin

        run = self._begin(False, code, args, name, durable, dict(limits))
        await begin(run)
        return run

    async def start_call_async(self, path: str, /, *args: Any, durable: str | None = None, **limits: Unpack[Limits]) -> Run:
        """Like start_call, for asyncio; see start_async."""
        from ._async import begin

        run = self._begin(True, path, args, None, durable, dict(limits))
        await begin(run)
        return run
