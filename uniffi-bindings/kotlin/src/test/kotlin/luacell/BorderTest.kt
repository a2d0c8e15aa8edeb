package luacell

import java.io.File
import java.io.IOException
import java.io.UncheckedIOException
import java.nio.file.Path
import java.time.Duration
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

/** What crosses the border that neither side may see, hold or be stopped by. */
class BorderTest {
    private fun <T> lua(config: SandboxConfig? = null, test: (Sandbox) -> T): T = Sandbox(config).use(test)

    private class Secret(message: String?, cause: Throwable? = null) : RuntimeException(message, cause) {
        override fun toString() = "Secret: password=hunter2"
    }

    /** Says more than it should in all ways that there are. */
    private class Hostile : RuntimeException() {
        override val message get() = throw IllegalStateException("hunter2")
        override fun toString() = throw IllegalStateException("hunter2")
    }

    private val unchosen = listOf(
        IOException("db password=hunter2"),
        UncheckedIOException(IOException("hunter2")),
        RuntimeException(IOException("hunter2")),
        NullPointerException("Cannot invoke \"luacell.Hunter2.password()\""),
        ClassCastException("class luacell.Hunter2"),
        Secret(null),
        Secret(null, IOException("hunter2")),
        Hostile(),
        AssertionError("hunter2"),
        NoClassDefFoundError("luacell/Hunter2"),
        OutOfMemoryError("hunter2"),
    )

    private val chosen = listOf(Secret("no such article"), Secret("no such article", IOException("hunter2")), IllegalStateException("no such article"))

    /** What the script saw is harmless, and the host gets what was thrown. */
    private fun check(lua: Sandbox, source: String, thrown: Throwable) {
        val seen = lua.compute("local ok, e = pcall(function() $source end) return tostring(ok), tostring(e), debug.traceback(e)").values.map { it.text!! }
        assertEquals("false", seen[0], "$source: $seen")
        for (text in seen) {
            for (secret in listOf("unter2", "Secret", "Exception", "Error:", "luacell", "java", "\tat ")) assertFalse(secret in text, "${thrown.javaClass}: $text")
        }
        val error = assertThrows<LuaException> { lua.compute(source) }
        assertSame(thrown, error.cause, "$source: $error")
    }

    @Test
    fun `a script sees nothing of what a host function throws but a message that was chosen`() = lua { lua ->
        var thrown: Throwable = Secret(null)
        lua.register("f") { throw thrown }
        lua.register("g", object : HostFunction {
            override fun invoke(args: List<LuaValue>): List<LuaValue> = throw thrown
        })
        for (name in listOf("f", "g")) {
            for (e in unchosen + chosen) {
                thrown = e
                check(lua, "$name()", e)
                val text = lua.compute("return select(2, pcall($name))").value.text!!
                assertTrue(text.endsWith(if (e in chosen) "no such article" else "the host function failed"), text)
            }
        }
        thrown = HostException.Failed("for the script", null)
        assertEquals("for the script", lua.compute("return select(2, pcall(g))").value.text!!.takeLast(14))
        // A result that is no value of Lua.
        lua.register("odd") { Hostile() }
        assertFalse("Hostile" in lua.compute("return select(2, pcall(odd))").value.text!!)
        assertTrue("Hostile" in assertThrows<LuaException.HostFunction> { lua.compute("odd()") }.message)
    }

    @Test
    fun `a script sees nothing of what a module source throws`() {
        var thrown: Throwable = Secret(null)
        val source = object : ModuleSource {
            override fun source(name: String): ByteArray? = throw thrown
        }
        lua(SandboxConfig(moduleSource = source)) { lua ->
            for (e in unchosen + chosen) {
                thrown = e
                check(lua, "require 'm'", e)
                assertFalse("no such article" in lua.compute("return select(2, pcall(require, 'm'))").value.text!!)
            }
            thrown = HostException.Failed("for the script", null)
            assertTrue("for the script" in lua.compute("return select(2, pcall(require, 'm'))").value.text!!)
        }
    }

    @Test
    fun `a script sees nothing of what a store throws`() {
        for (e in unchosen + chosen) {
            var broken: String? = null
            fun <T> unless(name: String, value: T): T = if (broken == name) throw e else value
            val entries = HashMap<String, ByteArray>()
            val store = object : TableStore {
                override fun get(table: Long, key: String) = entries["$table $key"].let { if (table == 1L) unless("get", it) else it }
                override fun set(table: Long, key: String, value: ByteArray) { entries[unless("set", "$table $key")] = value }
                override fun delete(table: Long, key: String) { entries.remove("$table $key") }
                fun all(table: Long) = entries.keys.filter { it.startsWith("$table ") }.map { it.substringAfter(' ') }
                override fun size(table: Long) = unless("size", all(table).size.toLong())
                override fun keys(table: Long) = unless("keys", all(table))
            }
            lua(SandboxConfig(ownStore = store)) { lua ->
                lua.compute("_home.x = 1")
                for ((name, source) in listOf("get" to "return _home.y", "keys" to "for k in pairs(_home) do end")) {
                    broken = name
                    check(lua, source, e)
                }
                // These end the run, whatever the script does.
                for ((name, source) in listOf("size" to "return #_home", "set" to "_home.z = 1")) {
                    broken = name
                    val error = assertThrows<LuaException.Store>(name) { lua.compute(source) }
                    assertSame(e, error.cause, name)
                }
                broken = "get"
                assertSame(e, assertThrows<LuaException.Store> { lua.home()["q"] }.cause)
                // Within a host function the error belongs to the host; what passes on is what scripts may see.
                lua.register("peek") { lua.home()["r"] }
                check(lua, "peek()", e)
                broken = null
                assertEquals(1L, lua.compute("return _home.x").value.long)
            }
        }
    }

    @Test
    fun `a printer that throws says nothing to the script`() {
        for (e in unchosen) {
            val printer = object : Printer {
                override fun print(text: ByteArray) = throw e
            }
            lua(SandboxConfig(printer = printer)) { assertEquals(listOf(true), it.compute("return pcall(print, 'x')").values.map { it.boolean }) }
        }
    }

    @Test
    fun `what has no end is refused with its place`() = lua { lua ->
        class Same : Iterable<Any?> {
            override fun iterator() = listOf(Same()).iterator()
        }
        class Deeper : AbstractList<Any?>() {
            override val size = 1
            override fun get(index: Int) = Deeper()
        }
        class Wider : AbstractList<Any?>() {
            override val size = 3
            override fun get(index: Int) = Wider()
        }
        class Endless : AbstractMap<Any?, Any?>() {
            override val entries: Set<Map.Entry<Any?, Any?>> = object : AbstractSet<Map.Entry<Any?, Any?>>() {
                override val size = 1
                override fun iterator() = generateSequence(0) { it + 1 }.map { java.util.AbstractMap.SimpleEntry<Any?, Any?>(it, it) }.iterator()
            }
        }
        class Liar : AbstractList<Any?>() {
            override val size = Int.MAX_VALUE
            override fun get(index: Int) = 1
        }
        for (value in listOf(Path.of("a"), Path.of("/a/b"), generateSequence(1) { 1 }.asIterable(), Same(), Deeper(), Wider(), Endless(), Liar(), Any(), sequenceOf(1))) {
            fun refused(place: String, body: () -> Unit) {
                val error = assertThrows<LuaException.Conversion> { body() }
                assertTrue("($place" in error.message, "${value.javaClass}: ${error.message}")
                assertTrue(error.message.length < 400, error.message)
            }
            refused("argument 2.list[3]") { lua.compute("", runOptions(listOf(1, mapOf("list" to listOf(1, 2, value))))) }
            refused("argument 1") { lua.call("print", value) }
            if (value is Wider || value is Liar) continue // slow enough once
            refused("value[\"a b\"]") { LuaValue.of(mapOf("a b" to value)) }
            refused("value[key]") { LuaTable.of(mapOf(value to 1)) }
            refused("result 2") { Results(1, value) }
        }
        // What has an end may be large, and may hold itself.
        assertEquals(300_000L, lua.compute("return #...", runOptions(listOf(1..300_000))).value.long)
        val self = HashMap<String, Any?>()
        self["self"] = self
        assertEquals(true, lua.compute("local t = ... return t.self == t", runOptions(listOf(self))).value.boolean)
    }

    @Test
    fun `tables that a script made can be printed, hashed and compared`() = lua { lua ->
        val sources = listOf(
            "for _ = 1, 100000 do t = {t} end",
            "for _ = 1, 100000 do t = {[t] = t} end",
            "for _ = 1, 100000 do t = {[{t}] = {x = t}} end",
            "for _ = 1, 60 do t = {t, t} end",
            "for _ = 1, 60 do t = {[t] = t, [{t}] = {t}} end",
            "t[1] = t t[t] = t t.t = {t}",
        )
        for (source in sources) {
            val outcome = lua.compute("local t = {} $source return t, {[t] = 1}, {t, t}")
            assertTrue(outcome.toString().length < 100 shl 20)
            for (value in outcome.values) {
                val converted = value.toKotlin()
                assertTrue(converted.toString().length < 10 shl 20, source)
                assertEquals(value.hashCode(), value.hashCode())
                assertEquals(value, value)
            }
            val map = outcome.values[1].toKotlin() as Map<*, *>
            assertEquals(1L, map[map.keys.single()])
        }
        // Keys are different when Lua's are.
        val map = lua.compute("local k = {1} return {[k] = 1, [{1}] = 2, k = k}").value.toKotlin() as Map<*, *>
        assertEquals(3, map.size)
        assertEquals(1L, map[map["k"]])
        val shared = lua.compute("local s = {1, x = {2}} return {s, s, 'a', {}}").value.toKotlin()
        assertEquals("[{1=1, x=[2]}, {1=1, x=[2]}, a, {}]", shared.toString())
        assertEquals(listOf(mapOf(1L to 1L, "x" to listOf(2L)), mapOf(1L to 1L, "x" to listOf(2L)), "a", emptyMap<Any, Any>()), shared)
        assertEquals(shared.hashCode(), listOf(mapOf(1L to 1L, "x" to listOf(2L)), mapOf(1L to 1L, "x" to listOf(2L)), "a", emptyMap<Any, Any>()).hashCode())
        assertNotEquals(shared, listOf(1L))
    }

    @Test
    fun `looking at values runs no script`() = lua { lua ->
        var calls = 0
        lua.register("touch") { calls++ }
        val source = """
            local names = {'toString', 'hashCode', 'equals', 'compareTo', 'iterator', 'close', 'get', 'then', 'finalize', '__tostring', '__eq', '__index',
              '__len', '__pairs', '__call', '__name', '__gc', '__close', '__hash', '__lt', '__mode'}
            local meta, t = {}, {}
            for _, name in ipairs(names) do meta[name] = touch t[name] = touch _home[name] = name end
            meta.__gc, meta.__mode = nil, nil
            setmetatable(t, meta)
            _home.t = {x = 1}
            return t, {[t] = t}, touch, function() touch() end, _home, _home.t, {t, touch, function() touch() end}
        """
        val values = lua.compute(source).values
        calls = 0
        for (value in values + values.map { it.toKotlin() }) {
            value.toString()
            value.hashCode()
            value == values[0] || value != null && values.contains(value)
            setOf(value)
            if (value is LuaValue) listOf(value.text, value.bytes, value.long, value.double, value.boolean, value.table?.nodes(), value.stored?.keys())
        }
        assertEquals(0, calls)
    }

    @Test
    fun `a function that outlives its run is under the limits of the sandbox`() {
        val limits = Limits(instructions = 100_000, memory = 8L shl 20, output = 100, hostCalls = 10, timeout = Duration.ofSeconds(20))
        lua(SandboxConfig(limits = limits)) { lua ->
            lua.register("touch") { }
            val source = "return function() while true do pcall(error) end end, function() return ('x'):rep(1 << 26) end, " +
                "function() print(('x'):rep(200)) end, function() while true do pcall(touch) end end"
            // The run that makes them has other limits than they have.
            val functions = lua.compute(source, runOptions(limits = Limits(instructions = -1, memory = -1, output = -1, hostCalls = -1))).values
            val kinds = functions.map { assertThrows<LuaException> { it.function!!.call() }.kind }
            assertEquals(listOf(ErrorKind.INSTRUCTION_LIMIT, ErrorKind.MEMORY, ErrorKind.OUTPUT_LIMIT, ErrorKind.HOST_CALL_LIMIT), kinds)
        }
        lua(SandboxConfig(limits = Limits(timeout = Duration.ofMillis(50)))) { lua ->
            val function = lua.compute("return function() while true do pcall(error) end end").value.function!!
            assertThrows<LuaException.Timeout> { function.call() }
        }
    }

    @Test
    fun `functions that are replaced and errors that are caught are let go`() = lua { lua ->
        fun functions() = FfiConverterTypeHostFunction.handleMap.size
        fun failures() = FfiConverterTypeHostFailure.handleMap.size
        val (before, failed) = functions() to failures()
        repeat(2_000) { lua.register("f") { args -> args.size } }
        assertEquals(before + 1, functions())
        repeat(2_000) { n ->
            lua.register("g") { throw Secret("$n") }
            assertTrue(lua.unregister("g"))
        }
        assertEquals(before + 1, functions())
        lua.register("g") { throw Secret("no") }
        lua.compute("for i = 1, 5000 do pcall(g) end")
        assertTrue(failures() - failed < 10, "${failures() - failed} exceptions are kept")
        runCatching { lua.register("no name") { } }
        assertEquals(before + 2, functions())
        lua.shutDown()
        assertEquals(before, functions())
        assertNull(runCatching { lua.compute("return 1") }.getOrNull())
    }

    @Test
    fun `a folder of modules does not tell where it is`() {
        val folder = kotlin.io.path.createTempDirectory("hunter2").toFile()
        try {
            File(folder, "m.lua").mkdirs()
            File(folder, "loop.lua").toPath().let { java.nio.file.Files.createSymbolicLink(it, it) }
            java.nio.file.Files.createSymbolicLink(File(folder, "out.lua").toPath(), File("/proc/version").toPath())
            lua(SandboxConfig(moduleFolder = folder.path)) { lua ->
                for (name in listOf("m", "loop", "out", "none", "a.b", "../x", "\u0000")) {
                    val text = lua.compute("return select(2, pcall(require, ...))", runOptions(listOf(name))).value.text!!
                    assertFalse("hunter2" in text || "/tmp" in text || "os error" in text, text)
                }
            }
        } finally {
            folder.deleteRecursively()
        }
    }
}
