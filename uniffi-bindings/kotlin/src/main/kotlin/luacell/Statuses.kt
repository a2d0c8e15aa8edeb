package luacell

import java.util.ArrayDeque

/**
 * Where calls leave their status, kept for reuse by each thread: JNA takes far longer to make and to collect one than a call takes, and its one
 * cleaning thread falls behind a thread that calls without a pause.
 */
internal class Statuses private constructor() {
    private val free = ArrayDeque<UniffiRustCallStatus>()

    fun take(): UniffiRustCallStatus = free.pollLast() ?: UniffiRustCallStatus().apply {
        setAutoSynch(false)
        clear()
    }

    /** Looks at what a call has left. */
    fun read(status: UniffiRustCallStatus) {
        if (status.pointer.getByte(0) != UNIFFI_CALL_SUCCESS) status.read()
    }

    fun giveBack(status: UniffiRustCallStatus) {
        if (status.code != UNIFFI_CALL_SUCCESS) {
            status.clear()
            status.read()
        }
        free.addLast(status)
    }

    companion object {
        private val all = ThreadLocal.withInitial { Statuses() }

        fun ofThread(): Statuses = all.get()
    }
}
