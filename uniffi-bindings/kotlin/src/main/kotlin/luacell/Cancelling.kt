package luacell

import kotlin.coroutines.ContinuationInterceptor
import kotlin.coroutines.CoroutineContext
import kotlin.coroutines.EmptyCoroutineContext
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext

/**
 * Runs something that a canceller ends, and cancels it with the coroutine. A coroutine that was cancelled has ended when its run has: whoever waits for
 * it, as `cancelAndJoin` and `withTimeout` do, can use the sandbox.
 *
 * The run's host functions that wait are children of the coroutine, and have ended as well.
 */
internal suspend fun <T> cancelling(given: Canceller?, tasks: HostTasks?, run: suspend (Canceller, HostTasks) -> T): T {
    val coroutine = currentCoroutineContext()
    coroutine.ensureActive()
    val canceller = given ?: Canceller()
    // A child without work of its own ends at once when the coroutine is cancelled, and normally further down.
    val child = Job(coroutine[Job])
    child.invokeOnCompletion { cause -> if (cause != null) canceller.cancelIfOpen() }
    val functions = RunFunctions(coroutine, canceller)
    try {
        return withContext(NonCancellable + dispatching(coroutine)) { run(canceller, tasks ?: functions) }
    } catch (e: LuaException.Interrupted) {
        coroutine.ensureActive()
        throw e
    } finally {
        child.complete()
        functions.end()
        if (given == null) canceller.destroy()
    }
}

/** The library wakes a coroutine with its lock in hand. One that goes on in that very call, and asks how far the run is, would wait for the lock forever. */
private fun dispatching(coroutine: CoroutineContext): CoroutineContext {
    val dispatcher = coroutine[ContinuationInterceptor] as? CoroutineDispatcher
    return if (dispatcher?.isDispatchNeeded(coroutine) == true) EmptyCoroutineContext else Dispatchers.Default
}

internal fun Canceller.cancelIfOpen() = try {
    cancel()
} catch (_: LuaException.Closed) {
    // Its run has ended.
}

/** For who uses an object that was closed. */
internal fun closed(what: Any): LuaException =
    LuaException.Closed(noDetails(ErrorKind.CLOSED, "this ${what.javaClass.simpleName} was closed"))
