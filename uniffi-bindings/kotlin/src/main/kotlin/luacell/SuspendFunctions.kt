package luacell

import kotlin.coroutines.CoroutineContext
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.withContext

/**
 * Makes a suspend function callable from Lua, as the global of that name; dots put it into tables. It returns and throws what a [LuaCallback] may.
 *
 * In [Sandbox.computeAsync] and [Sandbox.callAsync] it is a child of the coroutine that waits for the run, with its context. No thread is held while it
 * is suspended, and other tasks of the script (`require "task"`) go on. It is cancelled when the script needs it no more, because the run was
 * cancelled, has ended or has reached its timeout, which counts while it is suspended. Meanwhile it can't use the sandbox, which gives `Busy`.
 *
 * In other runs (`compute`, `start`) it is called on [Dispatchers.IO], and the thread of the run waits.
 *
 * @param repeatable whether it may be called again when a run is repeated after a conflict, because it only looks something up
 * @throws LuaException.InvalidArgument for a name that is not valid
 */
@JvmSynthetic
@Throws(LuaException::class)
fun Sandbox.registerSuspend(name: String, repeatable: Boolean = false, callback: suspend (args: List<LuaValue>) -> Any?) =
    registerWaiting(name, SuspendFunction(callback), repeatable)

private val blockingRuns = CoroutineScope(SupervisorJob() + Dispatchers.IO)

private class SuspendFunction(private val callback: suspend (List<LuaValue>) -> Any?) : AsyncHostFunction {
    override fun begin(args: List<LuaValue>, call: HostCall): HostTask = begin(blockingRuns, args, call) { }

    fun begin(scope: CoroutineScope, args: List<LuaValue>, call: HostCall, failed: () -> Unit): HostTask {
        val task = scope.async { call.answer(resultsOf(callback(args))) }
        // Also if it was cancelled before it began.
        task.invokeOnCompletion { cause ->
            call.use {
                if (cause != null) {
                    failed()
                    it.fail(hostException(cause))
                }
            }
        }
        return SuspendTask(task)
    }
}

private class SuspendTask(private val task: Deferred<Unit>) : HostTask {
    override fun cancel() = task.cancel()
}

/** Those of one run, in the coroutine that waits for it. */
internal class RunFunctions(private val coroutine: CoroutineContext, private val canceller: Canceller) : HostTasks {
    private val all = lazy { SupervisorJob(coroutine[Job]) }

    override fun begin(function: AsyncHostFunction, args: List<LuaValue>, call: HostCall): HostTask =
        if (function is SuspendFunction) function.begin(CoroutineScope(coroutine + all.value), args, call, ::endIfCancelled) else function.begin(args, call)

    /** One that begins while the coroutine is cancelled may hear of that before the run does, for which it would be an error that a script can catch. */
    private fun endIfCancelled() {
        if (coroutine[Job]?.isCancelled == true) canceller.cancelIfOpen()
    }

    /** The run has ended. */
    suspend fun end() {
        if (all.isInitialized()) withContext(NonCancellable) { all.value.cancelAndJoin() }
    }
}
