package luacell

import com.sun.jna.Callback
import com.sun.jna.CallbackThreadInitializer
import com.sun.jna.Native

/**
 * A thread of the library belongs to the JVM from its first callback to its end, as a daemon. JNA would attach it for each callback and detach it again, and
 * complain on standard error when that fails, which it does while the JVM ends.
 */
private object Attached : CallbackThreadInitializer(true, false, "luacell")

internal fun stayAttached(vararg callbacks: Callback) {
    for (callback in callbacks) Native.setCallbackThreadInitializer(callback, Attached)
}
