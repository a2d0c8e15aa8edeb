package luacell

import java.io.IOException
import java.nio.file.Path
import java.util.concurrent.CompletableFuture
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.coroutines.AbstractCoroutineContextElement
import kotlin.coroutines.Continuation
import kotlin.coroutines.CoroutineContext
import kotlin.coroutines.EmptyCoroutineContext
import kotlin.coroutines.startCoroutine
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertInstanceOf
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir

/** Host functions that are suspend functions. */
class SuspendTest {
    private class Mark(val text: String) : AbstractCoroutineContextElement(Mark) {
        companion object : CoroutineContext.Key<Mark>
    }

    @Test
    fun `tasks of a script wait side by side`() = Sandbox().use { lua ->
        val both = CompletableDeferred<Unit>()
        val begun = AtomicInteger()
        lua.registerSuspend("ask") { (question) ->
            // None is answered before both have asked.
            if (begun.incrementAndGet() == 2) both.complete(Unit)
            both.await()
            Results(question.text, currentCoroutineContext()[Mark]?.text)
        }
        lua.registerSuspend("nothing") { }
        val source = "return nothing(), require('task').all(function() return ask('a') end, function() return (select(2, ask('b'))) end)"
        runBlocking(Mark("mine")) {
            assertEquals(listOf(null, "a", "mine"), lua.computeAsync(source).values.map { it.toKotlin() })
            lua.compute("function f(x) return ask(x) end")
            assertEquals(listOf("x", "mine"), lua.callAsync("f", runOptions(listOf("x"))).values.map { it.toKotlin() })
        }
        // In others the thread waits.
        assertEquals(listOf("c", null), lua.compute("return ask('c')").values.map { it.toKotlin() })
        assertEquals(listOf("d", null), lua.start("return ask('d')").result().values.map { it.toKotlin() })
    }

    @Test
    fun `a run that waits holds no thread`() {
        val all = List(500) { Sandbox() }
        val waiting = AtomicInteger()
        val go = CompletableDeferred<Int>()
        for (lua in all) lua.registerSuspend("wait") {
            if (waiting.incrementAndGet() == all.size) go.complete(threads())
            go.await()
        }
        val before = threads()
        val during = runBlocking {
            all.map { lua -> async { lua.computeAsync("return wait()").value.long!! } }.awaitAll()
        }
        assertTrue(during.max() - before < 100, "${during.max()} threads, $before before")
        all.forEach { it.close() }
    }

    /** Those of the library too. */
    private fun threads() = java.io.File("/proc/self/task").list()?.size ?: Thread.activeCount()

    @Test
    fun `what it throws is the script's error`() = Sandbox().use { lua ->
        val cause = IllegalStateException("no such order")
        lua.registerSuspend("order") { delay(1.milliseconds); throw cause }
        lua.registerSuspend("secret") { throw IOException("password=hunter2") }
        lua.registerSuspend("raised") { raise(mapOf("code" to 7)) }
        lua.registerSuspend("late") { kotlinx.coroutines.withTimeout(1) { awaitCancellation() } }
        lua.registerSuspend("wrong") { Any() }
        runBlocking {
            assertEquals("no such order", lua.computeAsync("return select(2, pcall(order))").value.text)
            assertEquals(7L, lua.computeAsync("return select(2, pcall(raised)).code").value.long)
            assertTrue("hunter2" !in lua.computeAsync("return select(2, pcall(secret))").value.text!!)
            assertSame(cause, runCatching { lua.computeAsync("order()") }.exceptionOrNull()!!.cause)
            assertInstanceOf(LuaException.HostFunction::class.java, runCatching { lua.computeAsync("late()") }.exceptionOrNull())
            assertInstanceOf(LuaException.HostFunction::class.java, runCatching { lua.computeAsync("wrong()") }.exceptionOrNull())
            // It is no failure of the coroutine that waits for the run.
            assertEquals(1L, lua.computeAsync("return 1").value.long)
        }
        assertThrows<LuaException.InvalidArgument> { lua.registerSuspend("no name") { } }
        Unit
    }

    @Test
    fun `cancelling the coroutine ends the run and its functions`() = Sandbox().use { lua ->
        val begun = CompletableDeferred<Unit>()
        var ended: Throwable? = null
        lua.registerSuspend("forever") {
            begun.complete(Unit)
            try {
                awaitCancellation()
            } catch (e: CancellationException) {
                withContext(kotlinx.coroutines.NonCancellable) { delay(5.milliseconds) }
                ended = e
                throw e
            }
        }
        runBlocking<Unit> {
            val run = launch(Dispatchers.Default) { lua.computeAsync("forever()") }
            begun.await()
            run.cancelAndJoin()
            assertInstanceOf(CancellationException::class.java, ended)
            assertEquals(1L, lua.compute("return 1").value.long)
            ended = null
            assertNull(withTimeoutOrNull(5) { lua.computeAsync("forever()") })
            assertInstanceOf(CancellationException::class.java, ended)
        }
    }

    @Test
    fun `a coroutine without a dispatcher waits as well`() = Sandbox().use { lua ->
        lua.registerSuspend("wait") { delay(1.milliseconds); 7 }
        for (context in listOf(EmptyCoroutineContext, Dispatchers.Unconfined)) {
            val done = CompletableFuture<Outcome>()
            suspend { lua.computeAsync("return wait()") }.startCoroutine(Continuation(context) { result ->
                result.fold(done::complete, done::completeExceptionally)
            })
            assertEquals(7L, done.get(60, TimeUnit.SECONDS).value.long)
        }
    }

    /** However far the run is when that happens: here it is at work in the function. */
    @Test
    fun `a cancelled coroutine is no error that the script can catch`() = Sandbox().use { lua ->
        val seen = AtomicInteger()
        lua.registerSuspend("cancel") {
            currentCoroutineContext().job.parent!!.parent!!.cancel()
            awaitCancellation()
        }
        lua.register("seen") { seen.incrementAndGet() }
        runBlocking<Unit> {
            for (source in listOf("cancel()", "pcall(cancel) seen()")) {
                var ended: Throwable? = null
                launch(Dispatchers.Unconfined) {
                    ended = runCatching { lua.computeAsync(source) }.exceptionOrNull()
                }.join()
                assertInstanceOf(CancellationException::class.java, ended, source)
            }
            assertEquals(0, seen.get())
            assertEquals(1L, lua.compute("return 1").value.long)
        }
    }

    @Test
    fun `a function that the script needs no more is cancelled`() = Sandbox().use { lua ->
        val cancelled = CompletableDeferred<Unit>()
        lua.registerSuspend("slow") {
            try {
                awaitCancellation()
            } finally {
                cancelled.complete(Unit)
            }
        }
        lua.registerSuspend("quick") { 1 }
        lua.registerSuspend("seen") { cancelled.await() }
        runBlocking<Unit> {
            val source = "local n = require('task').race(function() return slow() end, function() return quick() end) seen() return n"
            assertEquals(1L, lua.computeAsync(source).value.long)
            val timeout = runCatching { lua.computeAsync("slow()", runOptions(limits = Limits(timeout = java.time.Duration.ofMillis(5)))) }
            assertInstanceOf(LuaException.Timeout::class.java, timeout.exceptionOrNull())
        }
    }

    @Test
    fun `a repeatable one is called again after a conflict`(@TempDir folder: Path) {
        val config = SandboxConfig(store = folder.resolve("state.luacell").toString())
        Sandbox(config).use { lua ->
            Sandbox(config).use { other ->
                val calls = AtomicInteger()
                val price: suspend (List<LuaValue>) -> Any? = {
                    if (calls.incrementAndGet() % 2 == 1) other.compute("_home.n = 10")
                    1
                }
                val source = "_home.n = (_home.n or 0) + price() return _home.n"
                lua.registerSuspend("price", repeatable = true, callback = price)
                assertEquals(11L, runBlocking { lua.computeAsync(source).value.long })
                assertEquals(2, calls.get())
                lua.registerSuspend("price", callback = price)
                assertThrows<LuaException.Conflict> { runBlocking { lua.computeAsync(source) } }
                assertEquals(3, calls.get())
            }
        }
    }

    @Test
    fun `runs on one store take turns instead of colliding`(@TempDir folder: Path) {
        val store = folder.resolve("state.luacell").toString()
        val all = List(10) { SandboxBuilder().store(store).queueRuns(true).build() }
        val underWay = AtomicInteger()
        for (lua in all) lua.registerSuspend("price") {
            assertEquals(1, underWay.incrementAndGet(), "one at a time")
            delay(2.milliseconds)
            underWay.decrementAndGet()
            1
        }
        runBlocking { all.map { async { it.computeAsync("_home.n = (_home.n or 0) + price()") } }.awaitAll() }
        assertEquals(10L, all[0].home()["n"].long)
        all.forEach { it.close() }
    }
}
