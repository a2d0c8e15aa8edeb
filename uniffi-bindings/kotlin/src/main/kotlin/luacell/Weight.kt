package luacell

/**
 * Has the JVM collect garbage when sandboxes take too much. It sees a small object in place of each, and would not collect before thousands were
 * forgotten. Direct buffers do the same.
 */
internal object Weight {
    private const val LEAST = 64L shl 20

    /** How long it is waited for the collector's work to show, in milliseconds; and how long when nothing shows. */
    private const val PATIENCE = 500L
    private const val IDLE = 20L

    private val least = maxOf(Runtime.getRuntime().maxMemory() / 4, LEAST)

    /** What is in use that makes it worth while. */
    @Volatile
    private var bound = least

    /** There is one more sandbox. */
    fun added() {
        if (memoryInUse() > bound) collect()
    }

    @Synchronized
    private fun collect() {
        if (memoryInUse() <= bound) return
        System.gc()
        try {
            waitForCleaner()
        } catch (_: InterruptedException) {
            Thread.currentThread().interrupt()
        }
        // What is in use now is not forgotten: only when there is as much again it is worth while once more.
        bound = maxOf(least, 2 * memoryInUse())
    }

    /** Sandboxes that the collector has found are freed by another thread. */
    private fun waitForCleaner() {
        var before = memoryInUse()
        var idle = 0L
        for (waited in 1..PATIENCE) {
            Thread.sleep(1)
            val now = memoryInUse()
            idle = if (now < before) 0 else idle + 1
            if (now <= least / 2 || idle > IDLE) return
            before = now
        }
    }
}
