package luacell

import java.math.BigInteger
import java.util.concurrent.ExecutionException
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Values arrive as they are, or not at all, with an error that names the place. */
class ExactTest {
    private val half = "x\ud800"

    private inline fun <reified E : LuaException> fails(part: String, crossinline body: () -> Unit): E {
        val error = assertThrows(E::class.java) { body() }
        assertTrue(part in error.message, "${error.message} has not: $part")
        return error
    }

    private fun conversion(part: String, body: () -> Unit) = fails<LuaException.Conversion>(part, body)

    @Test
    fun `arrays of numbers are sequences`() = Sandbox().use { lua ->
        for (array in listOf(
            intArrayOf(1, 2), longArrayOf(1, 2), shortArrayOf(1, 2), doubleArrayOf(1.0, 2.0), floatArrayOf(1f, 2f), booleanArrayOf(true, false),
            charArrayOf('a', 'b'), arrayOf(1, 2), arrayOf<Any?>(null, 2), uintArrayOf(1u, 2u), ulongArrayOf(1u, 2u), ubyteArrayOf(1u, 2u), ushortArrayOf(1u, 2u),
        )) {
            val expected = (array as? Collection<*>)?.toList() ?: itemsOf(array)
            assertEquals(LuaValue.of(expected), LuaValue.of(array), array.javaClass.name)
            assertEquals(2L, lua.call("select", "#", *itemsOf(expected.toTypedArray()).toTypedArray()).value.long)
            val result = lua.compute("local t = ... return #t.x, t.x == t.y", runOptions(listOf(mapOf("x" to array, "y" to array))))
            assertEquals(listOf(2L, true), result.values.map { it.toKotlin() })
        }
        assertEquals("ab", LuaValue.of("ab".toByteArray()).bytes?.decodeToString())
        assertEquals(listOf(listOf(1L), listOf(2L, 3L)), LuaTable.of(arrayOf(intArrayOf(1), intArrayOf(2, 3))).toKotlin())
        conversion("(value[2])") { LuaValue.of(charArrayOf('a', '\udc00')) }
        Unit
    }

    @Test
    fun `integers fit or are refused`() {
        assertEquals(Long.MAX_VALUE, LuaValue.of(Long.MAX_VALUE.toULong()).long)
        assertEquals(Long.MIN_VALUE, LuaValue.of(BigInteger.valueOf(Long.MIN_VALUE)).long)
        conversion("18446744073709551615") { LuaValue.of(ULong.MAX_VALUE) }
        conversion("(value.a[1])") { LuaValue.of(mapOf("a" to listOf(BigInteger.TWO.pow(63)))) }
        assertEquals(9007199254740992.0, LuaValue.Integer(9007199254740992).double)
        assertNull(LuaValue.Integer(9007199254740993).double)
        assertNull(LuaValue.Integer(Long.MAX_VALUE).double)
        assertEquals(-9.223372036854775808E18, LuaValue.Integer(Long.MIN_VALUE).double)
    }

    @Test
    fun `keys that are one in Lua are refused`() = Sandbox().use { lua ->
        for (map in listOf(
            mapOf(1 to "a", 1L to "b"), mapOf(1 to "a", 1.0 to "b"), mapOf("a" to 1, 'a' to 2), mapOf("a" to 1, "a".toByteArray() to 2),
            mapOf(byteArrayOf(-1) to 1, byteArrayOf(-1) to 2), mapOf(LuaValue.Integer(5) to 1, 5 to 2), mapOf("k" to 1, LuaValue.Text("k") to 2),
        )) {
            conversion("(argument 1.x") { lua.compute("return 1", runOptions(listOf(mapOf("x" to map)))) }
            conversion("the same in Lua") { lua.home()["x"] = map }
        }
        val several = mapOf(1 to "a", "1" to "b", true to "c", 1.5 to "d", byteArrayOf(-1) to "e", byteArrayOf(-2) to "f")
        assertEquals("abcdef", lua.compute("local t = ... return t[1] .. t['1'] .. t[true] .. t[1.5] .. t['\\xff'] .. t['\\xfe']", runOptions(listOf(several))).value.text)
        // Without the help of this side.
        val nodes = listOf(TableNode(emptyList(), List(2) { NodeEntry(NodeValue.Plain(LuaValue.Integer(1)), NodeValue.Plain(LuaValue.Integer(it.toLong()))) }))
        conversion("same key") { LuaTable.fromNodes(nodes) }
        Unit
    }

    @Test
    fun `half a surrogate pair is named with its place`() = Sandbox().use { lua ->
        val bad = LuaValue.Text(half)
        for ((place, act) in mapOf<String, () -> Unit>(
            "source" to { lua.compute(half, null) },
            "options.name" to { lua.compute("return 1", runOptions(name = half)) },
            "options.args" to { lua.compute("return 1", RunOptions(listOf(bad), null, null)) },
            "path" to { lua.call(half) },
            "argument 1" to { lua.call("print", half) },
            "argument 1.a[2]" to { lua.call("print", mapOf("a" to listOf(1, half))) },
            "argument 1[key]" to { lua.call("print", mapOf(half to 1)) },
            "argument 2" to { lua.call("print", 1, bad) },
            "name" to { lua.register(half) { 1 } },
            "config.store" to { SandboxBuilder().store(half).build() },
            "config.moduleFolder" to { SandboxBuilder().moduleFolder(half).build() },
            "config.modules" to { SandboxBuilder().modules(mapOf("m" to half)).build() },
            "key" to { lua.home()[half] },
            "value" to { lua.home()["x"] = half },
        )) conversion("half a surrogate pair can't be passed to Lua ($place)", act)
        conversion("config.modules") { SandboxBuilder().modules(mapOf(half to "return 1")).build() }
        conversion("(name)") { lua.unregister(half) }
        conversion("(value)") { lua.setInput(half) }
        conversion("(value)") { lua.setInput(bad) }
        conversion("(value)") { LuaValue.of(StringBuilder(half)) }
        conversion("(value)") { raise(half) }
        conversion("(source)") { runBlocking { lua.computeAsync(half, null) } }
        conversion("(path)") { runBlocking { lua.callAsync(half, null) } }
        val late = assertThrows(ExecutionException::class.java) { lua.computeFuture(half).get() }
        assertTrue(late.cause is LuaException.Conversion, "$late")
        assertEquals(1L, lua.compute("return 1", null).value.long)
    }

    @Test
    fun `what the host gives and throws may have half a pair`() = Sandbox().use { lua ->
        lua.register("result") { half }
        lua.register("raw", object : HostFunction {
            override fun invoke(args: List<LuaValue>) = listOf(LuaValue.Text(half))
        }, false)
        lua.register("thrown") { throw IllegalStateException(half) }
        lua.register("failed") { throw HostException.Failed(half, null) }
        lua.register("raised") { throw HostException.Raised(LuaValue.Text(half)) }
        for (name in listOf("result", "raw", "thrown", "failed", "raised")) {
            val error = fails<LuaException.HostFunction>("") { lua.compute("$name()", null) }
            if (name == "thrown") assertEquals(half, error.cause?.message)
            assertEquals(false, lua.compute("return (pcall($name))", null).value.boolean)
        }
    }

    @Test
    fun `settings that make no sense are named`() {
        for ((name, make) in mapOf(
            "conflictRetries" to { Sandbox(SandboxConfig(conflictRetries = -1), null).close() },
            "poolSize" to { Engine(EngineConfig(poolSize = -1)).close() },
            "maxMemory" to { Engine(EngineConfig(maxMemory = -1)).close() },
            "maxStack" to { Engine(EngineConfig(maxStack = -1)).close() },
            "max_memory" to { Engine(EngineConfig(poolSize = 0, maxMemory = 1 shl 20)).close() },
            "max_stack" to { Engine(EngineConfig(poolSize = 0, maxStack = 1 shl 30)).close() },
        )) fails<LuaException.InvalidArgument>(name, make)
    }

    @Test
    fun `a conflict of an own store stays one, however it is thrown`() {
        for (conflict in listOf(HostException.Conflict("later"), LuaException.Conflict(noDetails(ErrorKind.CONFLICT, "later")))) {
            val store = object : TableStore {
                override fun get(table: Long, key: String): ByteArray? = null
                override fun set(table: Long, key: String, value: ByteArray) = throw conflict
                override fun delete(table: Long, key: String) = Unit
                override fun size(table: Long) = 0L
                override fun keys(table: Long) = emptyList<String>()
            }
            SandboxBuilder().store(store).build().use { lua -> fails<LuaException.Conflict>("later") { lua.compute("_home.x = 1", null) } }
        }
    }
}
