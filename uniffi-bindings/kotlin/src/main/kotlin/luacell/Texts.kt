package luacell

import java.nio.ByteBuffer
import java.nio.CharBuffer
import java.nio.charset.CharacterCodingException
import java.nio.charset.CodingErrorAction

private const val HALF_PAIR = "text with half a surrogate pair"

/** Text that can't be UTF-8, somewhere in what is passed to the library. */
internal class HalfPair(private val place: String = "") : RuntimeException("$HALF_PAIR is no UTF-8", null, false, false) {
    fun inside(outer: String) = HalfPair(if (place.isEmpty()) outer else "$outer.$place")
    fun refused() = refused(HALF_PAIR, place)
}

/** The text as UTF-8, strictly. */
internal fun utf8(text: String): ByteBuffer = try {
    Charsets.UTF_8.newEncoder().onMalformedInput(CodingErrorAction.REPORT).encode(CharBuffer.wrap(text))
} catch (_: CharacterCodingException) {
    throw HalfPair()
}

/** Passes an argument of this name to the library. */
internal inline fun <T> argument(name: String, lower: () -> T): T = try {
    lower()
} catch (e: HalfPair) {
    throw e.inside(name).refused()
}

/** Writes the field of this name. */
internal inline fun field(name: String, write: () -> Unit) = try {
    write()
} catch (e: HalfPair) {
    throw e.inside(name)
}

/** The text, which has a place. */
internal inline fun checkedText(text: String, place: () -> String): String {
    var at = 0
    while (at < text.length) {
        if (text[at].isSurrogate()) {
            if (!text[at].isHighSurrogate() || at + 1 == text.length || !text[at + 1].isLowSurrogate()) throw refusedText(place())
            at++
        }
        at++
    }
    return text
}

internal fun refusedText(place: String) = refused(HALF_PAIR, place)

/** Text about something that failed: better with a mark in it than not at all. */
internal fun passable(text: String): String = text.toByteArray().decodeToString()
