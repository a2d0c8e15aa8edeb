/** Sandboxes with Kotlin's own values, functions and coroutines. */
@file:JvmName("Sandboxes")

package luacell

import java.io.IOException
import java.time.Duration
import java.util.concurrent.CompletableFuture
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.future.future

/** A host function as a lambda: receives the arguments, and returns a result that [LuaValue.Companion.of] takes, [Results], or nothing. */
fun interface LuaCallback {
    /**
     * Called on the thread that runs the script; it may use the sandbox that calls it. Whatever it throws becomes a Lua error: its message if it has one,
     * except for an `IOException` and what the JVM throws itself.
     */
    @Throws(Exception::class)
    fun call(args: List<LuaValue>): Any?
}

/** Several results of a host function. */
class Results(vararg values: Any?) {
    internal val values = luaValuesOf(values.asList(), "result")
}

/** What code of the host has thrown. */
private class Thrown(val throwable: Throwable) : HostFailure {
    override fun describe() = description(throwable)
}

/** What the host's own code threw, if that caused this error. */
internal fun ErrorDetails.thrown(): Throwable? = (failure as? Thrown)?.throwable

private class Adapter(private val callback: LuaCallback) : HostFunction {
    override fun invoke(args: List<LuaValue>): List<LuaValue> = resultsOf(callback.call(args))
}

/** What a host function's result is in Lua. */
internal fun resultsOf(result: Any?): List<LuaValue> = when (result) {
    Unit -> emptyList()
    is Results -> result.values
    else -> listOf(luaValueOf(result, "result 1"))
}

/** What the library is to know of whatever code of the host throws. */
internal fun hostException(e: Throwable): HostException = when (e) {
    is HostException.Failed -> HostException.Failed(passable(e.reason), e.failure)
    is HostException.Conflict -> HostException.Conflict(passable(e.reason))
    is HostException -> e
    is LuaException -> e.details.passing?.let { HostException.Passed(it) } ?: unpassed(e)
    else -> HostException.Thrown(chosenMessage(e)?.let(::passable), description(e), Thrown(e))
}

/** Of another sandbox, or made by the host. A store may throw a conflict so. */
private fun unpassed(e: LuaException) =
    if (e is LuaException.Conflict) HostException.Conflict(passable(e.message)) else HostException.Thrown(null, description(e), Thrown(e))

/**
 * The message, unless the JVM or the operating system worded it, which name classes and files, or it is the text of the cause, as that of
 * `RuntimeException(cause)`.
 */
private fun chosenMessage(e: Throwable): String? = when (e) {
    is Error, is NullPointerException, is ClassCastException, is ArrayStoreException, is IOException -> null
    else -> try {
        e.message?.takeUnless { it == e.cause?.toString() }
    } catch (_: Throwable) {
        null
    }
}

private fun description(e: Throwable): String = try {
    passable(e.toString())
} catch (_: Throwable) {
    e.javaClass.name
}

/**
 * Makes a function callable from Lua, as the global of that name; dots put it into tables. What it throws becomes a Lua error, and is the `cause` of
 * the exception of the run if the script does not catch it.
 *
 * @param repeatable whether a run that calls it may be repeated after a conflict, because it only looks something up
 * @throws LuaException.InvalidArgument for a name that is not valid
 */
@JvmOverloads
@Throws(LuaException::class)
fun Sandbox.register(name: String, repeatable: Boolean = false, callback: LuaCallback) =
    register(name, Adapter(callback) as HostFunction, repeatable)

/** Raises a value as Lua's `error(value)` does, inside a host function. */
fun raise(value: Any?): Nothing = throw HostException.Raised(luaValueOf(value))

/** Settings of a run, with arguments that [LuaValue.Companion.of] takes. */
@JvmOverloads
@Throws(LuaException::class)
fun runOptions(args: List<Any?> = emptyList(), name: String? = null, limits: Limits? = null, durable: String? = null): RunOptions =
    RunOptions(luaValuesOf(args, "argument"), name, limits, durable)

/**
 * Calls a global Lua function with these arguments.
 *
 * @throws LuaException whatever the function fails with
 */
@Throws(LuaException::class)
fun Sandbox.call(path: String, vararg args: Any?): Outcome = call(path, runOptions(args.asList()))

/**
 * Calls the function with these arguments.
 *
 * @throws LuaException whatever the function fails with
 */
@Throws(LuaException::class)
fun LuaFunction.call(vararg args: Any?): Outcome = call(luaValuesOf(args.asList(), "argument"))

/**
 * For Java: runs Lua source on another thread. Cancelling the future interrupts the run, and does not wait until it has ended: the next
 * call of the sandbox does.
 */
@JvmOverloads
fun Sandbox.computeFuture(source: String, options: RunOptions? = null): CompletableFuture<Outcome> =
    CoroutineScope(Dispatchers.Default).future { computeAsync(source, options) }

/**
 * For Java: calls a global Lua function on another thread. Cancelling the future interrupts the run, and does not wait until it has ended: the next
 * call of the sandbox does.
 */
@JvmOverloads
fun Sandbox.callFuture(path: String, options: RunOptions? = null): CompletableFuture<Outcome> =
    CoroutineScope(Dispatchers.Default).future { callAsync(path, options) }

/** Sets `_io.input`, the script's input, to a value that [LuaValue.Companion.of] takes. */
@Throws(LuaException::class)
fun Sandbox.setInput(value: Any?) = setInput(luaValueOf(value))

/** The first returned value, or nil. */
val Outcome.value: LuaValue get() = values.firstOrNull() ?: LuaValue.Nil

/** What the script printed, with U+FFFD for what is not UTF-8. */
val Outcome.output: String get() = outputData.decodeToString()

/** What the script printed before it failed. */
val LuaException.output: String get() = details.outputData.decodeToString()

/** The kind. */
val LuaException.kind: ErrorKind get() = details.kind

/** The line in the chunk, from 1, if it is a Lua error with a position. */
val LuaException.line: Int? get() = details.line

/** The value under a key, which may be any value that [LuaValue.Companion.of] takes; nil if there is none. */
@Throws(LuaException::class)
@JvmSynthetic
operator fun StoredTable.get(key: Any?): LuaValue = get(luaValueOf(key, "key"))

/** Sets the value under a key, both any values that [LuaValue.Companion.of] takes; null removes it. */
@Throws(LuaException::class)
@JvmName("put")
operator fun StoredTable.set(key: Any?, value: Any?) = set(luaValueOf(key, "key"), luaValueOf(value))

/** Makes sandboxes, step by step; mainly for Java. */
class SandboxBuilder {
    private var limits = Limits()
    private var config = SandboxConfig()
    private var engine: Engine? = null

    /** Bytes for Lua's heap and the buffers of a run. */
    fun memoryLimit(bytes: Long) = apply { limits = limits.copy(memory = bytes) }

    /** Instructions of a run, roughly those of the Lua machine. */
    fun instructionLimit(instructions: Long) = apply { limits = limits.copy(instructions = instructions) }

    /** Wall time of a run; null for no limit. */
    fun timeout(time: Duration?) = apply { limits = limits.copy(timeout = time, noTimeout = time == null) }

    /** All limits at once. */
    fun limits(all: Limits) = apply { limits = all }

    /** Where `_home` is kept: the path of a file, or the URL of a server. */
    fun store(place: String) = apply { config = config.copy(store = place) }

    /** Where `_home` is kept: a store of your own. */
    fun store(store: TableStore) = apply { config = config.copy(ownStore = store) }

    /** Whether functions in the store are loaded: see [SandboxConfig.storedFunctions]. */
    fun storedFunctions(loaded: Boolean) = apply { config = config.copy(storedFunctions = loaded) }

    /** Receives printed text immediately. */
    fun onPrint(printer: Printer) = apply { config = config.copy(printer = printer) }

    /** Modules for `require`: their sources by name. */
    fun modules(sources: Map<String, String>) =
        apply { config = config.copy(modules = sources.mapValues { LuaValue.Text(it.value) }) }

    /** The folder with modules for `require`. */
    fun moduleFolder(path: String) = apply { config = config.copy(moduleFolder = path) }

    /** Makes runs repeatable. */
    fun seed(seed: Long) = apply { config = config.copy(seed = seed) }

    /** How long a durable run is claimed each time: see [SandboxConfig.claimTerm]. */
    fun claimTerm(time: Duration) = apply { config = config.copy(claimTerm = time) }

    /** Whether runs on the same store take turns instead of colliding: see [SandboxConfig.queueRuns]. */
    fun queueRuns(on: Boolean) = apply { config = config.copy(queueRuns = on) }

    /** An engine other than the default one. */
    fun engine(engine: Engine) = apply { this.engine = engine }

    /**
     * The sandbox; the caller closes it.
     *
     * @throws LuaException.Store if the store can't be opened
     */
    @Throws(LuaException::class)
    fun build(): Sandbox = Sandbox(config.copy(limits = limits), engine)
}
