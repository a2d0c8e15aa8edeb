package luacell

import java.io.File
import java.nio.file.Path
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.concurrent.thread
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeoutOrNull
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir

/** What is over when a call returns that cancels or closes. */
class ClosingTest {
    private val endless = "started() while true do pcall(error) end"

    @Test
    fun `a cancelled coroutine makes nobody busy`() = Sandbox().use { lua ->
        runBlocking {
            repeat(1000) { round ->
                val running = CountDownLatch(1)
                lua.register("started") { running.countDown() }
                val job = launch(Dispatchers.Default) { lua.computeAsync(endless) }
                // Also when it has hardly begun, or not yet.
                if (round % 3 == 0) running.await() else repeat(round * 20) { Thread.onSpinWait() }
                job.cancelAndJoin()
                assertEquals(1L, if (round % 2 == 0) lua.compute("return 1").value.long else lua.computeAsync("return 1").value.long)
            }
            repeat(100) {
                assertNull(withTimeoutOrNull(1L + it % 5) { lua.computeAsync("while true do end") })
                assertEquals(1L, lua.computeAsync("return 1").value.long)
            }
        }
    }

    @Test
    fun `a host function that is running is waited for`() = Sandbox().use { lua ->
        val (running, goOn) = List(2) { CountDownLatch(1) }
        val over = AtomicBoolean()
        lua.register("slow") {
            running.countDown()
            goOn.await()
            over.set(true)
        }
        runBlocking {
            val job = launch(Dispatchers.Default) { lua.computeAsync("slow() while true do end") }
            running.await()
            job.cancel()
            delay(10)
            assertFalse(job.isCompleted)
            goOn.countDown()
            job.join()
            assertTrue(over.get())
            assertEquals(1L, lua.compute("return 1").value.long)
        }
    }

    /** With the `use` of this package, which `import luacell.*` puts before Kotlin's own. */
    @Test
    fun `at the end of use no run is left`(@TempDir folder: Path) {
        val (running, over) = CountDownLatch(1) to AtomicBoolean()
        lateinit var runner: Thread
        lateinit var sandbox: Sandbox
        Sandbox().use { lua ->
            sandbox = lua
            lua.register("slow") {
                running.countDown()
                Thread.sleep(50)
                over.set(true)
            }
            runner = thread { lua.compute("slow()") }
            running.await()
        }
        assertTrue(over.get() && sandbox.isShutDown())
        runner.join()
        // Nor is a durable run claimed any more, whoever still has it.
        val config = SandboxConfig(store = folder.resolve("state.luacell").toString())
        val run = Sandbox(config).use { lua ->
            lua.declare("ask")
            lua.start("ask()", runOptions(durable = "order-17"))
        }
        Sandbox(config).use { assertEquals(listOf(PendingRun("order-17", null)), it.pendingRuns()) }
        assertThrows<LuaException.Closed> { run.requests() }
    }

    @Test
    fun `when a sandbox was closed no run is left`() {
        repeat(50) {
            val lua = Sandbox()
            val running = CountDownLatch(1)
            val over = AtomicBoolean()
            lua.register("started") { running.countDown() }
            lua.register("over") { over.set(true) }
            var result: Long? = null
            val runner = thread { result = lua.compute("started() for i = 1, 100000 do end over() return 1").value.long }
            running.await()
            lua.close()
            assertTrue(over.get())
            runner.join()
            assertEquals(1L, result)
        }
    }

    @Test
    fun `a host function closes its sandbox when the run has ended`() {
        val lua = Sandbox()
        lua.register("close") { lua.close() }
        assertEquals(2L, lua.compute("close() return 2").value.long)
        assertThrows<LuaException.Closed> { lua.compute("return 1") }
    }

    @Test
    fun `what was closed says so`() {
        val lua = Sandbox()
        val home = lua.home()
        lua.compute("_home.t = {1}")
        val stored = (home["t"] as LuaValue.Stored).table
        val function = lua.compute("return function() end").value.function!!
        val snapshot = lua.snapshot()
        lua.close()
        lua.close()
        assertTrue(lua.isShutDown())
        lua.interrupt()
        val uses: List<() -> Any?> = listOf(
            { lua.compute("return 1") }, { lua.computeData(ByteArray(0)) }, { lua.call("f") }, { runBlocking { lua.computeAsync("") } },
            { runBlocking { lua.callAsync("f") } }, { lua.register("f") { } }, { lua.unregister("f") }, { lua.input() },
            { lua.setInput(1) }, { lua.output() }, { lua.setOutput(LuaValue.Nil) }, { lua.meta() }, { lua.setMeta(LuaValue.Nil) },
            { lua.clearIo() }, { lua.memoryStats() }, { lua.tableCount() }, { lua.gc() }, { lua.reset() }, { lua.snapshot() },
            { lua.restore(snapshot) }, { lua.fork() }, { lua.home()["x"] }, { home["x"] }, { home["x"] = 1 }, { stored[1] },
            { stored.count() }, { stored.entries() }, { function.call() },
        )
        uses.forEachIndexed { n, use -> assertThrows<LuaException.Closed>("use $n") { use() } }
        // So do objects that were closed by themselves, and those that were destroyed.
        Sandbox().use { other ->
            val table = other.compute("return {1}").value.table!!
            table.close()
            assertThrows<LuaException.Closed> { table.length() }
            assertThrows<LuaException.Closed> { other.home()["x"] = LuaValue.Table(table) }
            val canceller = Canceller()
            canceller.close()
            assertThrows<LuaException.Closed> { canceller.cancel() }
            assertThrows<LuaException.Closed> { runBlocking { other.computeAsync("return 1", null, canceller) } }
            function.close()
            assertThrows<LuaException.Closed> { function.call() }
            assertEquals(1L, other.compute("return 1").value.long)
        }
        lua.destroy()
        assertThrows<LuaException.Closed> { lua.compute("return 1") }
        assertThrows<LuaException.Closed> { lua.home() }
        assertThrows<LuaException.Closed> { lua.isShutDown() }
    }

    /** Each waits for the next: more than pools of threads use to have. */
    @Test
    fun `runs may wait for runs`() {
        val all = List(600) { Sandbox() }
        all.forEachIndexed { n, lua ->
            lua.register("next") { if (n + 1 < all.size) runBlocking { all[n + 1].computeAsync("return next() + 1").value } else 1 }
        }
        assertEquals(601L, runBlocking { all[0].computeAsync("return next() + 1").value.long })
        // Side by side, each waiting for all.
        val begun = CountDownLatch(all.size)
        all.forEach { lua ->
            lua.register("meet") {
                begun.countDown()
                begun.await()
            }
        }
        runBlocking { all.map { async { it.computeAsync("meet()") } }.forEach { it.await() } }
        all.forEach { it.close() }
    }

    @Test
    fun `forgotten sandboxes are found in time`() {
        fun resident() = File("/proc/self/statm").takeIf { it.exists() }?.readText()?.split(" ")?.get(1)?.toLong()?.times(4096) ?: 0
        val before = resident()
        var most = 0L
        repeat(3000) { n ->
            val lua = Sandbox()
            if (n % 2 == 0) lua.compute("x = ('x'):rep(1000000)") else lua.home()["x"] = "x".repeat(1_000_000)
            most = maxOf(most, memoryInUse())
        }
        assertTrue(most < 512L shl 20) { "$most bytes in use" }
        assertTrue(resident() - before < 768L shl 20) { "${(resident() - before) shr 20} MiB more" }
    }
}
