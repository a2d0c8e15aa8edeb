"""Exceptions."""

from __future__ import annotations

import builtins
import gc
import json
import pickle
import traceback
import weakref

import pytest

import luacell


@pytest.fixture
def lua() -> luacell.Sandbox:
    return luacell.Sandbox()


def test_there_is_a_class_for_each_kind() -> None:
    for kind in luacell.ERROR_KINDS:
        cls = getattr(luacell, f"Lua{kind.removesuffix('Error')}Error")
        assert issubclass(cls, luacell.LuaCellError) and cls.kind == kind and cls.__doc__


def test_builtins_catch_what_they_are_for(lua: luacell.Sandbox) -> None:
    with pytest.raises(TimeoutError) as timeout:
        lua.compute("while true do end", timeout=0.02)
    assert isinstance(timeout.value, luacell.LuaTimeoutError)
    with pytest.raises(MemoryError):
        lua.compute("return ('x'):rep(1e8)", memory_limit="1MiB")
    with pytest.raises(RuntimeError):
        lua.compute("error('no')")
    with pytest.raises(ValueError):
        luacell.Sandbox(memory_limit="many")
    with pytest.raises(TypeError):
        lua.compute("return ...", object())
    with pytest.raises(SyntaxError):
        lua.compute("return return")


def test_a_runtime_error_says_where(lua: luacell.Sandbox) -> None:
    with pytest.raises(luacell.LuaRuntimeError) as caught:
        lua.compute("print('before')\nlocal t\nreturn t.x", name="=rules")
    error = caught.value
    assert str(error) == error.message == "rules:3: attempt to index a nil value (local 't')"
    assert (error.kind, error.chunk, error.line, error.output) == ("Runtime", "rules", 3, "before\n")
    assert error.traceback is not None and "rules:3" in error.traceback
    assert error.metrics is not None and error.metrics.instructions > 0


def test_a_syntax_error_looks_like_pythons(lua: luacell.Sandbox) -> None:
    with pytest.raises(luacell.LuaSyntaxError) as caught:
        lua.compute("\nx ==", name="@rules.lua")
    error = caught.value
    assert (error.filename, error.lineno, error.line, error.chunk) == ("rules.lua", 2, 2, "rules.lua")
    assert error.msg == str(error) == "rules.lua:2: syntax error near '=='"
    assert "rules.lua" in "".join(traceback.format_exception(error))


def test_an_error_value_comes_along(lua: luacell.Sandbox) -> None:
    with pytest.raises(luacell.LuaRuntimeError) as caught:
        lua.compute("error({code = 7})")
    assert caught.value.value == {"code": 7}
    with pytest.raises(luacell.LuaRuntimeError) as other:
        lua.compute("error({[{a = 1}] = 7})")
    assert other.value.value == [({"a": 1}, 7)]


def test_a_python_exception_passes_through_lua(lua: luacell.Sandbox) -> None:
    mistake = KeyError("tea")

    @lua.function
    def price(article: str) -> float:
        raise mistake

    with pytest.raises(luacell.LuaHostFunctionError) as caught:
        lua.compute("local function f() price('tea') end f()", name="=rules")
    assert caught.value.__cause__ is mistake
    assert (caught.value.line, str(caught.value)) == (1, "rules:1: 'tea'")
    assert lua.compute("return pcall(price, 'tea')") == (False, "'tea'")
    assert lua.compute("return 1") == 1


def test_a_python_exception_passes_through_two_sandboxes(lua: luacell.Sandbox) -> None:
    inner = luacell.Sandbox()
    mistake = ZeroDivisionError("zero")

    @inner.function
    def fail() -> None:
        raise mistake

    lua.register("inner", lambda: inner.compute("fail()"))
    with pytest.raises(luacell.LuaHostFunctionError) as caught:
        lua.compute("inner()")
    middle = caught.value.__cause__
    assert isinstance(middle, luacell.LuaHostFunctionError)
    assert middle.__cause__ is mistake


def test_an_error_of_lua_passes_through_python(lua: luacell.Sandbox) -> None:
    lua.register("through", lambda function: function())
    with pytest.raises(luacell.LuaRuntimeError) as caught:
        lua.compute("through(function() error({code = 9}) end)")
    assert caught.value.value == {"code": 9}
    assert lua.compute("local ok, e = pcall(through, function() error({code = 9}) end) return e.code") == 9


def test_a_host_function_raises_lua_values(lua: luacell.Sandbox) -> None:
    @lua.function
    def refuse() -> None:
        raise luacell.LuaHostFunctionError(value={"code": 5})

    @lua.function
    def complain() -> None:
        raise luacell.LuaHostFunctionError("no such article")

    assert lua.compute("local ok, e = pcall(refuse) return e.code") == 5
    assert lua.compute("local ok, e = pcall(complain) return e") == "no such article"
    with pytest.raises(luacell.LuaHostFunctionError) as caught:
        lua.compute("refuse()")
    assert caught.value.value == {"code": 5}


def test_what_is_no_exception_ends_the_run(lua: luacell.Sandbox) -> None:
    @lua.function
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        lua.compute("pcall(leave) while true do pcall(leave) end")
    assert caught.value.code == 3
    with pytest.raises(SystemExit):
        lua.compute("pcall(leave) return 1")
    assert lua.compute("return 1") == 1


def test_errors_can_be_pickled(lua: luacell.Sandbox) -> None:
    for source in ("error('no')", "x ==", "error({1})"):
        with pytest.raises(luacell.LuaCellError) as caught:
            lua.compute(source)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert type(copy) is type(caught.value) and str(copy) == str(caught.value)
        assert (copy.line, copy.traceback, copy.value) == (caught.value.line, caught.value.traceback, caught.value.value)


def test_messages_that_are_no_text(lua: luacell.Sandbox) -> None:
    """A script must not choose where the host's program fails: all text can be encoded."""
    with pytest.raises(luacell.LuaRuntimeError) as caught:
        lua.compute("print('p\\xff') error('a\\xff\\u{D800}\u00e9', 0)", name="=c\u00e9")
    error = caught.value
    assert (error.message, error.output) == ("a\\xff\\xed\\xa0\\x80\u00e9", "p\\xff\n")
    for source in ("error('a\\xff', 0)", "x\xff = = 1", "local t = {} t['\\xff']()", "_G['\\xff'] = function() error('x') end _G['\\xff']()", "error({'\\xff'})"):
        with pytest.raises(luacell.LuaCellError) as other:
            lua.compute(source, name="=\xff")
        for text in (str(other.value), other.value.message, other.value.traceback, other.value.chunk, other.value.output, "".join(traceback.format_exception(other.value))):
            json.dumps(text or "", ensure_ascii=False).encode()
    assert other.value.value == [b"\xff"] and lua.compute("return 'a\\xff'") == b"a\xff"


def test_a_message_that_is_no_text_stays_whole_in_lua(lua: luacell.Sandbox) -> None:
    lua.register("through", lambda function: function())
    assert lua.compute("local ok, e = pcall(through, function() error('a\\xff', 0) end) return e") == b"a\xff"


def test_messages_name_methods_of_python(lua: luacell.Sandbox) -> None:
    other = luacell.Sandbox()
    lua.home["t"] = {"x": 1}
    with pytest.raises(luacell.LuaInvalidArgumentError, match="to_python"):
        other.compute("return ...", lua.home["t"])
    with pytest.raises(luacell.LuaInvalidArgumentError, match="to_python"):
        other.home["t"] = lua.home["t"]
    other.register("t", lambda: lua.home["t"])
    with pytest.raises(luacell.LuaCellError, match="to_python"):
        other.compute("return t()")


def test_exceptions_that_are_kept_are_garbage_in_the_end() -> None:
    class Payload:
        pass

    def make() -> weakref.ref[Payload]:
        lua, payload = luacell.Sandbox(), Payload()
        kept: list[object] = []

        @lua.function
        def fail() -> None:
            raise KeyError(payload, kept)

        with pytest.raises(luacell.LuaHostFunctionError) as caught:
            lua.compute("fail()")
        assert isinstance(caught.value.__cause__, KeyError)
        kept.append(caught.value)
        lua.compute("return 1")
        return weakref.ref(payload)

    reference = make()
    gc.collect()
    assert reference() is None


def test_a_second_caller_gets_busy(lua: luacell.Sandbox) -> None:
    got: list[BaseException] = []

    @lua.function
    def other_thread() -> None:
        import threading

        def use() -> None:
            try:
                lua.compute("return 1")
            except luacell.LuaBusyError as error:
                got.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()

    lua.compute("other_thread()")
    assert len(got) == 1


def test_names_do_not_hide_builtins() -> None:
    assert not set(luacell.__all__) & set(dir(builtins))
