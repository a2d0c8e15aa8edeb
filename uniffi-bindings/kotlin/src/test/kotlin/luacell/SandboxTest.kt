package luacell

import java.io.File
import java.nio.file.Path
import java.time.Duration
import java.util.concurrent.CountDownLatch
import kotlin.concurrent.thread
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir

class SandboxTest {
    private fun <T> lua(config: SandboxConfig? = null, test: (Sandbox) -> T): T = Sandbox(config).use(test)

    @Test
    fun `values go both ways`() = lua { lua ->
        val everything = listOf(
            null, true, 7, 2.5, "text", "ünï", byteArrayOf(-1, 0), listOf(1, listOf(2)), mapOf("a" to 1, 2.5 to "x", true to null),
            emptyMap<Any, Any>(), arrayOf("a", "b"), 'c', 3.toByte(), 4u,
        )
        val back = lua.compute("return ...", runOptions(everything)).values.map { it.toKotlin() }
        assertNull(back[0])
        assertEquals(listOf(true, 7L, 2.5, "text", "ünï"), back.subList(1, 6))
        assertArrayEquals(byteArrayOf(-1, 0), back[6] as ByteArray)
        assertEquals(
            listOf(
                listOf(1L, listOf(2L)), mapOf("a" to 1L, 2.5 to "x"), emptyMap<Any, Any>(), listOf("a", "b"), "c", 3L, 4L,
            ),
            back.subList(7, 14),
        )
        assertEquals(LuaValue.Float(3.0), lua.compute("return 3.0").value)
        assertEquals(LuaValue.Integer(3), lua.compute("return 3").value)
        assertEquals(3L, lua.compute("return 3.0").value.long)
        assertNull(lua.compute("return 2^63").value.long)
        assertEquals(LuaValue.Nil, lua.compute("").value)
    }

    @Test
    fun `cycles and shared tables are kept`() = lua { lua ->
        val list = ArrayList<Any?>()
        list.add(list)
        val shared = mapOf("x" to 1)
        val source = "local l, s = ... assert(l[1] == l and s[1] == s[2]) s[s[1]] = s return s, l"
        val (table, cycle) = lua.compute(source, runOptions(listOf(list, listOf(shared, shared)))).values
        val map = table.toKotlin() as Map<*, *>
        assertSame(map[1L], map[2L])
        // A map can't hold itself under a key that holds it in turn, and a list can.
        val back = cycle.toKotlin() as List<*>
        assertSame(back, back[0])
        assertTrue(table.table!!.isSame(table.table!!.get(table.table!!.get(1))!!.table!!))
    }

    @Test
    fun `deep tables need no deep stack`() = lua { lua ->
        var deep: List<Any?> = emptyList<Any?>()
        repeat(100_000) { deep = listOf(deep) }
        val outcome = lua.compute("local n, t = 0, ... while t[1] do n, t = n + 1, t[1] end return n, ...", runOptions(listOf(deep)))
        assertEquals(100_000L, outcome.value.long)
        var back: Any? = outcome.values[1].toKotlin()
        var depth = 0
        while (back is List<*>) {
            back = back[0]
            depth++
        }
        assertEquals(100_000, depth)
    }

    @Test
    fun `tables can be read in place`() = lua { lua ->
        val table = lua.compute("return {1, 2, name = 'Ada', inner = {x = 5}}").value.table!!
        assertEquals(2, table.length())
        assertEquals(4, table.count())
        assertFalse(table.isSequence())
        assertEquals("Ada", table["name"].text)
        assertEquals(5L, table["inner"].table!!["x"].long)
        assertEquals(LuaValue.Nil, table["nothing"])
        assertEquals(LuaTable.of(listOf(1, 2)), LuaTable.of(listOf(1, 2)))
        assertEquals(LuaTable.of(listOf(1, 2)).hashCode(), LuaTable.of(arrayOf(1, 2)).hashCode())
        assertThrows<LuaException.InvalidArgument> { LuaTable.of(mapOf(null to 1)) }
        assertThrows<LuaException.InvalidArgument> { LuaTable.of(mapOf(Double.NaN to 1)) }
        assertThrows<LuaException.InvalidArgument> { LuaTable.fromNodes(listOf(TableNode(listOf(NodeValue.Node(7)), emptyList()))) }
        assertThrows<LuaException.InvalidArgument> { LuaTable.fromNodes(emptyList()) }
        // A finished table inside new ones.
        assertEquals(mapOf("t" to listOf(listOf(1L), listOf(1L))), LuaTable.of(LuaTable.of(listOf(1)).let { mapOf("t" to listOf(it, it)) }).toKotlin())
        assertThrows<LuaException.Conversion> { LuaValue.of(Thread.currentThread()) }
        Unit
    }

    @Test
    fun `home is kept and seen`() = lua { lua ->
        lua.compute("_home.seen = 0 function greet(name) _home.seen = _home.seen + 1 return 'hello ' .. name end")
        lua.call("greet", "Ada")
        assertEquals("hello Grace", lua.call("greet", "Grace").value.text)
        val home = lua.home()
        assertEquals(2L, home["seen"].long)
        home["player"] = mapOf("name" to "Ada", "items" to listOf("tea", "cake"))
        val player = home["player"].stored!!
        player["items"].stored!!.set(3, "moon")
        assertEquals("teacakemoon", lua.compute("return table.concat(_home.player.items)").value.text)
        assertEquals(mapOf("name" to "Ada", "items" to listOf("tea", "cake", "moon")), player.toTable().toKotlin())
        assertEquals(setOf("name", "items"), player.keys().map { it.text }.toSet())
        assertEquals(2, player.entries().size)
        assertEquals(2L, player.count())
        assertTrue(player.remove(LuaValue.of("name")))
        assertFalse(player.remove(LuaValue.of("name")))
        player.clear()
        assertEquals(0L, player.count())
        assertEquals(1L, home.id())
        assertEquals(home, lua.home())
        home["seen"] = null
        assertEquals(LuaValue.Nil, home["seen"])
        assertThrows<LuaException.Conversion> { home["f"] = lua.compute("return function() end").value }
        // What a failed run wrote is not kept.
        assertThrows<LuaException.Runtime> { lua.compute("_home.x = 1 error('no')") }
        assertEquals(LuaValue.Nil, home["x"])
    }

    @Test
    fun `input output and meta`() = lua { lua ->
        lua.setInput(mapOf("n" to 20))
        lua.compute("_io.output = {twice = _io.input.n * 2} _io.meta = 'm'")
        assertEquals(40L, lua.output().stored!!["twice"].long)
        assertEquals("m", lua.meta().text)
        lua.setMeta(LuaValue.of(1))
        lua.setOutput(LuaValue.Nil)
        assertEquals(1L, lua.meta().long)
        assertEquals(LuaValue.Nil, lua.output())
        lua.clearIo()
        assertEquals(LuaValue.Nil, lua.input())
    }

    @Test
    fun `host functions`() = lua { lua ->
        lua.register("shop.price") { (article) -> if (article.text == "tea") 3.5 else null }
        assertEquals(7.0, lua.compute("return 2 * shop.price('tea')").value.double)
        assertEquals(LuaValue.Nil, lua.compute("return shop.price('moon')").value)
        lua.register("none") { }
        lua.register("two") { Results(1, listOf(2)) }
        assertEquals(0L, lua.compute("return select('#', none())").value.long)
        assertEquals(listOf(1L, listOf(2L)), lua.compute("return two()").values.map { it.toKotlin() })
        // It may use the sandbox that calls it, and functions that it gets.
        lua.register("again") { (f) -> lua.compute("return 20").value.long!! + f.function!!.call(1, 2).value.long!! }
        assertEquals(23L, lua.compute("return again(function(a, b) return a + b end)").value.long)
        assertTrue(lua.unregister("none"))
        assertFalse(lua.unregister("none"))
        assertThrows<LuaException.InvalidArgument> { lua.register("no name") { } }
        assertThrows<LuaException.Runtime> { lua.compute("none()") }
        Unit
    }

    @Test
    fun `what a host function throws comes back`() = lua { lua ->
        val thrown = IllegalStateException("no such article")
        lua.register("fail") { throw thrown }
        val error = assertThrows<LuaException.HostFunction> { lua.compute("fail()", runOptions(name = "=shop")) }
        assertSame(thrown, error.cause)
        assertTrue("no such article" in error.message)
        assertEquals("no such article", lua.compute("local ok, e = pcall(fail) return e:match('no.*')").value.text)
        lua.register("raise") { raise(mapOf("code" to 7)) }
        assertEquals(7L, lua.compute("local ok, e = pcall(raise) return e.code").value.long)
        val raised = assertThrows<LuaException> { lua.compute("raise()") }
        assertEquals(mapOf("code" to 7L), raised.details.value.toKotlin())
        // Errors of a run inside pass through as they were.
        lua.register("inner") { lua.compute("local t = nil\nreturn t.x", runOptions(name = "=inner")) }
        val passed = assertThrows<LuaException.Runtime> { lua.compute("inner()") }
        assertEquals("inner:2: attempt to index a nil value (local 't')", passed.message)
        fun deep(n: Int): Int = deep(n + 1) + 1
        lua.register("stack") { deep(0) }
        assertTrue(assertThrows<LuaException.HostFunction> { lua.compute("stack()") }.cause is StackOverflowError)
    }

    @Test
    fun `errors say everything`() = lua { lua ->
        val error = assertThrows<LuaException.Runtime> { lua.compute("print('before')\nlocal t = nil\nreturn t.x", runOptions(name = "=demo")) }
        assertEquals("demo:3: attempt to index a nil value (local 't')", error.message)
        assertEquals(ErrorKind.RUNTIME, error.kind)
        assertEquals(3, error.line)
        assertEquals("demo", error.details.chunk)
        assertEquals("before\n", error.output)
        assertTrue("demo:3" in error.details.traceback!!)
        assertTrue(error.details.metrics.instructions > 0)
        assertNull(error.cause)
        assertTrue("demo:3" in error.toString())
        assertEquals(7L, assertThrows<LuaException.Runtime> { lua.compute("error({code = 7})") }.details.value.table!!["code"].long)
    }

    @Test
    fun `every kind of error has its type`(@TempDir folder: Path) = lua { lua ->
        fun limited(limits: Limits, source: String) = lua.compute(source, runOptions(limits = limits))
        lua.register("f") { }
        assertThrows<LuaException.Syntax> { lua.compute("return +") }
        assertThrows<LuaException.Memory> { limited(Limits(memory = 4L shl 20), "return ('x'):rep(1 << 24)") }
        assertThrows<LuaException.InstructionLimit> { limited(Limits(instructions = 10_000), "while true do end") }
        assertThrows<LuaException.Timeout> { limited(Limits(timeout = Duration.ofMillis(1)), "while true do end") }
        assertThrows<LuaException.OutputLimit> { limited(Limits(output = 10), "print('more than ten bytes')") }
        assertThrows<LuaException.StoreLimit> { limited(Limits(storeBytes = 10), "_home.x = ('x'):rep(100)") }
        assertThrows<LuaException.HostCallLimit> { limited(Limits(hostCalls = 1), "f() f()") }
        assertThrows<LuaException.InvalidArgument> { limited(Limits(source = 3), "return 1") }
        assertThrows<LuaException.Conversion> { lua.compute("return coroutine.create(print)") }
        assertThrows<LuaException.Store> { Sandbox(SandboxConfig(store = folder.toString())) }
        assertThrows<LuaException.Store> { Sandbox(SandboxConfig(store = "nowhere://x")) }
        assertThrows<LuaException.InvalidArgument> { Sandbox(SandboxConfig(modules = emptyMap(), moduleFolder = "x")) }
        val other = Sandbox()
        assertThrows<LuaException.InvalidArgument> { lua.compute("return ...", runOptions(listOf(other.home()))) }
        val function = other.compute("return function() end").value.function!!
        other.shutDown()
        assertTrue(other.isShutDown())
        assertThrows<LuaException.Closed> { other.compute("return 1") }
        assertThrows<LuaException.Closed> { function.call() }
        other.close()
        assertThrows<LuaException.Closed> { other.compute("return 1") }
        assertEquals(1L, limited(Limits(instructions = -1, noTimeout = true), "return 1").value.long)
    }

    @Test
    fun `busy and interrupted`() = lua { lua ->
        val running = CountDownLatch(1)
        lua.register("started") { running.countDown() }
        var error: Throwable? = null
        val runner = thread { error = runCatching { lua.compute("started() while true do pcall(error) end") }.exceptionOrNull() }
        running.await()
        assertThrows<LuaException.Busy> { lua.compute("return 1") }
        lua.interrupt()
        runner.join()
        assertTrue(error is LuaException.Interrupted)
        assertEquals(1L, lua.compute("return 1").value.long)
    }

    @Test
    fun `coroutines`() = lua { lua ->
        runBlocking {
            assertEquals(3L, lua.computeAsync("return 1 + 2").value.long)
            lua.compute("function twice(x) return 2 * x end")
            assertEquals(14L, lua.callAsync("twice", runOptions(listOf(7))).value.long)
            assertEquals(ErrorKind.SYNTAX, runCatching { lua.computeAsync("return +") }.exceptionOrNull().let { (it as LuaException).kind })
            val all = List(8) { n -> Sandbox().let { other -> async(Dispatchers.Default) { other.use { it.computeAsync("return $n").value.long } } } }
            assertEquals((0L..7L).toList(), all.map { it.await() })
        }
    }

    @Test
    fun `cancelling a coroutine interrupts its script and no other`() = lua { lua ->
        runBlocking {
            repeat(20) { round ->
                val running = CountDownLatch(1)
                lua.register("started") { running.countDown() }
                var ended: Throwable? = null
                val job = launch(Dispatchers.Default) {
                    try {
                        lua.computeAsync("started() while true do end")
                    } catch (e: Throwable) {
                        ended = e
                        throw e
                    }
                }
                // Also when it has hardly begun.
                if (round % 2 == 0) running.await()
                job.cancelAndJoin()
                assertTrue(ended == null || ended is CancellationException)
                // The script has ended, and the sandbox goes on.
                assertEquals(1L, lua.compute("return 1").value.long)
            }
        }
    }

    @Test
    fun `a canceller ends its run only`() = lua { lua ->
        runBlocking {
            val canceller = Canceller()
            canceller.cancel()
            val error = runCatching { lua.computeAsync("return 1", null, canceller) }.exceptionOrNull()
            assertTrue(error is LuaException.Interrupted)
            assertEquals(1L, lua.computeAsync("return 1", null, Canceller()).value.long)
        }
    }

    @Test
    fun `a store in Kotlin`() {
        val tables = HashMap<Long, LinkedHashMap<String, ByteArray>>()
        var broken = false
        val store = object : TableStore {
            fun table(id: Long) = tables.getOrPut(id) { LinkedHashMap() }
            override fun get(table: Long, key: String) = if (broken) throw IllegalStateException("the disk is gone") else table(table)[key]
            override fun set(table: Long, key: String, value: ByteArray) { table(table)[key] = value }
            override fun delete(table: Long, key: String) { table(table).remove(key) }
            override fun size(table: Long) = table(table).size.toLong()
            override fun keys(table: Long) = table(table).keys.toList()
        }
        lua(SandboxConfig(ownStore = store)) { it.compute("_home.a = {1, 2, {x = 'y'}} _home.b = 'gone'") }
        lua(SandboxConfig(ownStore = store)) { lua ->
            assertEquals("y", lua.compute("_home.b = nil return _home.a[3].x").value.text)
            assertThrows<LuaException.Runtime> { lua.compute("_home.c = 1 error('no')") }
        }
        assertEquals(setOf("a"), tables[1L]!!.keys)
        broken = true
        val error = assertThrows<LuaException.Store> { lua(SandboxConfig(ownStore = store)) { it.compute("return _home.a") } }
        assertTrue("the disk is gone" in error.message)
    }

    @Test
    fun `conflicts of an own store`() {
        val entries = HashMap<String, ByteArray>()
        var conflicts = 2
        val store = object : TableStore {
            override fun get(table: Long, key: String) = entries[key]
            override fun set(table: Long, key: String, value: ByteArray) {
                if (conflicts-- > 0) throw HostException.Conflict("somebody was faster")
                entries[key] = value
            }
            override fun delete(table: Long, key: String) { entries.remove(key) }
            override fun size(table: Long) = entries.size.toLong()
            override fun keys(table: Long) = entries.keys.toList()
        }
        lua(SandboxConfig(ownStore = store)) { lua ->
            assertEquals(1L, lua.compute("_home.n = (_home.n or 0) + 1 return _home.n").value.long)
            conflicts = Int.MAX_VALUE
            val error = assertThrows<LuaException.Conflict> { lua.compute("_home.n = 2") }
            assertTrue("somebody was faster" in error.message, error.message)
            conflicts = 0
            assertEquals(1L, lua.compute("return _home.n").value.long)
        }
    }

    @Test
    fun `a guest that crashes`() {
        Engine(EngineConfig(maxStack = 64 * 1024)).use { engine ->
            Sandbox(null, engine).use { lua ->
                lua.compute("x = 1 _home.x = 1")
                assertThrows<LuaException.Trap> { lua.compute("local function f() return (string.gsub('x', 'x', function() return pcall(f) end)) end f()") }
                assertEquals(listOf(null, 1L), lua.compute("return x, _home.x").values.map { it.toKotlin() })
            }
        }
    }

    @Test
    fun `a store in a file`(@TempDir folder: Path) {
        val path = folder.resolve("state.luacell").toString()
        lua(SandboxConfig(store = path)) { it.compute("_home.n = 41") }
        lua(SandboxConfig(store = path)) { assertEquals(42L, it.compute("return _home.n + 1").value.long) }
    }

    @Test
    fun `a store to take no functions from`(@TempDir folder: Path) {
        val path = folder.resolve("state.luacell").toString()
        lua(SandboxConfig(store = path)) { it.compute("_home.f, _home.n = function() return 7 end, 1") }
        lua(SandboxConfig(store = path, storedFunctions = false)) {
            assertEquals(1L, it.compute("return _home.n").value.long)
            assertThrows<LuaException.Store> { it.compute("return _home.f()") }
            assertThrows<LuaException.Store> { it.home()["f"] }
        }
    }

    @Test
    fun `printed text goes where it is wanted`() {
        val printed = StringBuilder()
        val printer = object : Printer {
            override fun print(text: ByteArray) { printed.append(text.decodeToString()) }
        }
        lua(SandboxConfig(printer = printer)) { assertEquals("", it.compute("print('a') print('b')").output) }
        assertEquals("a\nb\n", printed.toString())
        val failing = object : Printer {
            override fun print(text: ByteArray) = throw IllegalStateException("nobody listens")
        }
        lua(SandboxConfig(printer = failing)) { assertEquals(1L, it.compute("print('a') return 1").value.long) }
        lua { assertEquals("a\n", it.compute("print('a')").output) }
    }

    @Test
    fun modules(@TempDir folder: Path) {
        val source = "return require 'm'"
        lua(SandboxConfig(modules = mapOf("m" to LuaValue.of("return 5")))) { assertEquals(5L, it.compute(source).value.long) }
        File(folder.toFile(), "m.lua").writeText("return 6")
        lua(SandboxConfig(moduleFolder = folder.toString())) { assertEquals(6L, it.compute(source).value.long) }
        val own = object : ModuleSource {
            override fun source(name: String) = when (name) {
                "m" -> "return 7".toByteArray()
                "bad" -> throw IllegalStateException("can't look")
                else -> null
            }
        }
        lua(SandboxConfig(moduleSource = own)) { lua ->
            assertEquals(7L, lua.compute(source).value.long)
            assertTrue("other" in assertThrows<LuaException.Runtime> { lua.compute("require 'other'") }.message)
            val error = assertThrows<LuaException> { lua.compute("require 'bad'") }
            assertTrue("can't look" in error.message)
            assertTrue(error.cause is IllegalStateException)
        }
    }

    @Test
    fun `snapshots and forks`() = lua { lua ->
        lua.compute("next = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) next() _home.x = 1")
        val snapshot = lua.snapshot()
        assertEquals(2L, lua.call("next").value.long)
        lua.restore(snapshot)
        assertEquals(2L, lua.call("next").value.long)
        lua.compute("_home.x = 5")
        lua.restore(snapshot, tables = false)
        assertEquals(5L, lua.home()["x"].long)
        lua.restore(snapshot, tables = true)
        assertEquals(2L, lua.call("next").value.long)
        val again = Snapshot.fromBytes(snapshot.toBytes())
        Sandbox.fromSnapshot(again).use { assertEquals(2L, it.call("next").value.long) }
        lua.fork().use { fork ->
            fork.compute("_home.x = 2")
            assertEquals(3L, fork.call("next").value.long)
        }
        assertEquals(1L, lua.home()["x"].long)
        assertThrows<LuaException.InvalidArgument> { Snapshot.fromBytes(byteArrayOf(1, 2, 3)) }
        Unit
    }

    @Test
    fun `runs can be repeated exactly`() {
        fun once() = lua(SandboxConfig(seed = 5)) { lua ->
            val outcome = lua.compute("return math.random(1000000), os.time(), os.clock()")
            outcome.values to outcome.metrics
        }
        assertEquals(once(), once())
    }

    @Test
    fun `engines, memory and collections`() {
        Engine(EngineConfig(poolSize = 2)).use { engine ->
            Sandbox(null, engine).use { lua ->
                lua.compute("t = {} for i = 1, 1000 do t[i] = {} end")
                val before = lua.memoryStats().luaBytes
                lua.compute("t = nil")
                lua.gc()
                assertTrue(lua.memoryStats().luaBytes < before)
                assertNotNull(lua.tableCount())
                lua.compute("x = 1")
                lua.reset()
                assertEquals(LuaValue.Nil, lua.compute("return x").value)
            }
        }
        SandboxBuilder().memoryLimit(8L shl 20).timeout(null).build().use { assertEquals(1L, it.compute("return 1").value.long) }
    }

    @Test
    fun `a million computes do not grow`() = lua { lua ->
        lua.register("f") { it }
        fun resident() = File("/proc/self/statm").takeIf { it.exists() }?.readText()?.split(" ")?.get(1)?.toLong()?.times(4096) ?: 0
        fun some(times: Int) = repeat(times) { lua.compute("return 1") }
        some(400_000) // the JVM compiles, and its heap is in use
        val before = resident()
        repeat(50) {
            some(19_996)
            lua.compute("print('x') return {1, {2}}").value.toKotlin()
            lua.compute("return f(1)")
            runCatching { lua.compute("error('x')") }
            lua.compute("return print").value.function!!.close()
        }
        assertTrue(resident() - before < 16L shl 20) { "${(resident() - before) shr 20} MiB more" }
    }
}
