package luacell

import java.nio.file.Path
import java.time.Duration
import kotlin.concurrent.thread
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir

/** Runs that wait for whoever started them. */
class WaitingTest {
    private fun asking(config: SandboxConfig? = null) = Sandbox(config).apply { declare("ask") }

    /** The open requests. */
    private fun Run.open() = requests().map { "${it.id}:${it.name}:${it.args.map { arg -> arg.toKotlin() }}" }

    private fun Run.goOn(id: Long, vararg values: Any?) {
        answer(id, *values)
        resume()
    }

    @Test
    fun `a run waits for its answers`() = asking().use { lua ->
        val run = lua.start("print('a') local a, b = ask(..., 7) print('b') return a .. #b, ask()", runOptions(listOf("q")))
        assertTrue(run.isWaiting())
        assertNull(run.name())
        assertEquals(listOf("1:ask:[q, 7]"), run.open())
        assertThrows<LuaException.Busy> { run.result() }
        assertThrows<LuaException.InvalidArgument> { run.answer(2) }
        run.answer(1, "yes", listOf(1, 2))
        assertThrows<LuaException.InvalidArgument> { run.answer(1) }
        run.resume()
        assertEquals(listOf("2:ask:[]"), run.open())
        run.goOn(2)
        assertFalse(run.isWaiting())
        repeat(2) { assertEquals(listOf("yes2"), run.result().values.map { it.toKotlin() }) }
        assertEquals("a\nb\n", run.result().output)
        assertEquals(emptyList<String>(), run.open())
        assertThrows<LuaException.InvalidArgument> { run.resume() }
        run.renew()
        run.close()
        assertThrows<LuaException.Closed> { run.result() }
        assertThrows<LuaException.HostFunction> { lua.compute("ask()") }
        assertTrue(lua.unregister("ask"))
    }

    @Test
    fun `what the script fails with is the result`() = asking().use { lua ->
        val failed = lua.start("error('no')", runOptions(name = "=here"))
        assertEquals("here:1: no", assertThrows<LuaException.Runtime> { failed.result() }.message)
        val run = lua.start("return (select(2, pcall(ask))), (select(2, pcall(ask))), select(2, pcall(ask)).code")
        run.fail(1, "no such thing")
        run.resume()
        run.fail(2, IllegalStateException("no such order"))
        run.resume()
        run.fail(3, HostException.Raised(LuaValue.of(mapOf("code" to 7))))
        run.resume()
        assertEquals(listOf("no such thing", "no such order", 7L), run.result().values.map { it.toKotlin() })
        val thrown = IllegalStateException("the cause")
        val uncaught = lua.start("ask()")
        uncaught.fail(1, thrown)
        uncaught.resume()
        assertSame(thrown, assertThrows<LuaException.HostFunction> { uncaught.result() }.cause)
        assertThrows<LuaException.InvalidArgument> { lua.declare("not a name") }
        assertThrows<LuaException.InvalidArgument> { lua.compute("return 1", runOptions(durable = "x")) }
        Unit
    }

    @Test
    fun `a run is ended`() = asking().use { lua ->
        val run = lua.start("_home.x = 1 ask()")
        assertThrows<LuaException.Busy> { lua.start("return 1") }
        run.cancel()
        assertFalse(run.isWaiting())
        assertThrows<LuaException.Closed> { run.result() }
        lua.start("_home.x = 1 ask()").use { assertTrue(it.isWaiting()) }
        assertEquals(LuaValue.Nil, lua.compute("return _home.x").value)
        val canceller = Canceller()
        val cancelled = lua.start("ask() while true do end", canceller = canceller)
        cancelled.answer(1)
        canceller.cancel()
        cancelled.resume()
        assertThrows<LuaException.Interrupted> { cancelled.result() }
        val last = lua.start("ask()")
        lua.close()
        assertFalse(last.isWaiting())
        assertThrows<LuaException.Closed> { last.answer(1) }
        assertThrows<LuaException.Closed> { lua.start("return 1") }
        Unit
    }

    @Test
    fun `tasks wait side by side, and any thread answers`() = asking().use { lua ->
        lua.compute("function both(a, b) return require('task').all(function() return ask(a) end, function() return ask(b) end) end")
        val run = lua.startCall("both", "a", "b")
        assertEquals(listOf("1:ask:[a]", "2:ask:[b]"), run.open())
        thread {
            run.goOn(2, "B")
            run.goOn(1, "A")
        }.join()
        assertEquals(listOf("A", "B"), run.result().values.map { it.text })
    }

    @Test
    fun `a second thread gets Busy, and no deadlock`() = asking().use { lua ->
        lateinit var run: Run
        val seen = ArrayList<Any?>()
        lua.register("look") {
            seen.add(run.isWaiting())
            seen.add(assertThrows<LuaException.Busy> { run.requests() }.kind)
        }
        run = lua.start("ask() look() return 1")
        run.goOn(1)
        assertEquals(listOf<Any?>(false, ErrorKind.BUSY), seen)
        assertEquals(1L, run.result().value.long)
    }

    @Test
    fun `a snapshot has the run that waits`() = asking().use { lua ->
        lua.start("local n = 'x' return n .. ask('q')")
        Sandbox.fromSnapshot(lua.snapshot()).use { there ->
            there.declare("ask")
            val run = there.waitingRun()!!
            assertNull(there.waitingRun())
            assertEquals(listOf("1:ask:[q]"), run.open())
            run.goOn(1, "1")
            assertEquals("x1", run.result().value.text)
        }
    }

    @Test
    fun `a durable run goes on from its store`(@TempDir folder: Path) {
        val config = SandboxConfig(store = folder.resolve("runs.luacell").toString(), claimTerm = Duration.ofSeconds(60))
        asking(config).use { lua ->
            lua.start("local a = ask('first') _home.a = a return a .. ask('second')", runOptions(durable = "order-17")).use { run ->
                assertEquals("order-17", run.name())
                run.goOn(1, "one")
                assertEquals(listOf("2:ask:[second]"), run.open())
                run.renew()
            }
        }
        asking(config).use { lua ->
            assertEquals("one", lua.home()["a"].text)
            assertEquals(listOf(PendingRun("order-17", null)), lua.pendingRuns())
            assertThrows<LuaException.InvalidArgument> { lua.resume("none") }
            val run = lua.resume("order-17")
            assertEquals(listOf("2:ask:[second]"), run.open())
            Sandbox(config).use { other ->
                val claimed = other.pendingRuns().single().claimed
                assertNotNull(claimed)
                assertTrue(claimed!! <= Duration.ofSeconds(60) && claimed > Duration.ZERO)
                assertThrows<LuaException.Busy> { other.resume("order-17") }
                assertThrows<LuaException.Busy> { other.dropPendingRun("order-17") }
            }
            run.goOn(2, "two")
            assertEquals("onetwo", run.result().value.text)
            assertEquals(emptyList<PendingRun>(), lua.pendingRuns())
            assertFalse(lua.dropPendingRun("order-17"))
            lua.start("ask()", runOptions(durable = "order-18")).close()
            assertTrue(lua.dropPendingRun("order-18"))
            lua.start("ask()", runOptions(durable = "order-18")).cancel()
            assertEquals(emptyList<PendingRun>(), lua.pendingRuns())
        }
    }
}
