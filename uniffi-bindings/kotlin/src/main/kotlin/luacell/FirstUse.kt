package luacell

import java.nio.ByteBuffer
import java.time.Duration

/**
 * Has the classes of a first sandbox and a first run loaded by a thread of its own, while the native library is being loaded: one after the
 * other takes a new JVM 10 ms longer, most of the time until the first result.
 *
 * That thread must use neither the native library nor JNA, which wait for the thread that loads them.
 */
internal object FirstUse : Thread("luacell-first-use") {
    init {
        isDaemon = true
        start()
    }

    /** Begins, the first time. */
    fun begin() = Unit

    /** Waits until it is done. */
    fun finish() = join()

    override fun run() {
        try {
            rehearse()
        } catch (_: Throwable) {
            // What fails here fails again where it is needed, and is reported there.
        }
    }
}

/** What the first calls do on this side of the border: arguments into bytes, bytes into results. */
internal fun rehearse() {
    val limits = Limits(memory = 1, instructions = 1, timeout = Duration.ofSeconds(1))
    through(FfiConverterOptionalTypeSandboxConfig, SandboxConfig(limits = limits, seed = 1))
    through(FfiConverterOptionalTypeEngine, null)
    through(FfiConverterOptionalTypeRunOptions, runOptions(listOf(1, 0.5, "text")))
    through(FfiConverterTypeOutcome, Outcome(listOf(luaValueOf(2)), ByteArray(0), noMetrics())).value.toKotlin()
    FfiConverterTypeHostFunction.toString()
    LuaException.ErrorHandler.toString()
    UniffiNullRustCallStatusErrorHandler.toString()
    SandboxBuilder().memoryLimit(1)
    Class.forName(Sandbox::class.java.name)
}

private fun <T> through(converter: FfiConverterRustBuffer<T>, value: T): T {
    val bytes = ByteBuffer.allocate(converter.allocationSize(value).toInt())
    converter.write(value, bytes)
    return converter.read(ByteBuffer.wrap(bytes.array()))
}
