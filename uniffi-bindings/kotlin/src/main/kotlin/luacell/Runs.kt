/** Runs that wait, with Kotlin's own values and exceptions. */
@file:JvmName("Runs")

package luacell

/**
 * Starts a run of a global Lua function with these arguments. It is done when this returns, or waits for answers.
 *
 * @throws LuaException if the run could not begin; what the function fails with, the run's `result` throws
 */
@Throws(LuaException::class)
fun Sandbox.startCall(path: String, vararg args: Any?): Run = startCall(path, runOptions(args.asList()))

/**
 * Answers a request with what the function returns: values that [LuaValue.Companion.of] takes.
 *
 * @throws LuaException.InvalidArgument if no such request is open
 */
@Throws(LuaException::class)
fun Run.answer(id: Long, vararg values: Any?) = answer(id, luaValuesOf(values.asList(), "value"))

/**
 * Answers a request with an exception, as if a host function had thrown it.
 *
 * @throws LuaException.InvalidArgument if no such request is open
 */
@Throws(LuaException::class)
fun Run.fail(id: Long, error: Throwable) = fail(id, hostException(error))

/**
 * Answers a request with an error that has this message.
 *
 * @throws LuaException.InvalidArgument if no such request is open
 */
@Throws(LuaException::class)
fun Run.fail(id: Long, message: String) = fail(id, HostException.Failed(passable(message), null))
