package luacell

import java.util.IdentityHashMap

/** Deeper tables are left out of texts. */
private const val LEVELS = 100

/** From so many characters on a table is not written out again. */
private const val LONG = 1_000_000

/** A table as a list. A script made it: its text must end, however deeply it is nested, and so must its use as a key. */
internal class TableList(private val isKey: Boolean, size: Int) : ArrayList<Any?>(size) {
    override fun toString() = Text().of(this)
    override fun equals(other: Any?) = this === other || !isKey && super.equals(other)
    override fun hashCode() = if (isKey) System.identityHashCode(this) else super.hashCode()
}

/** A table as a map. */
internal class TableMap(private val isKey: Boolean) : LinkedHashMap<Any?, Any?>() {
    override fun toString() = Text().of(this)
    override fun equals(other: Any?) = this === other || !isKey && super.equals(other)
    override fun hashCode() = if (isKey) System.identityHashCode(this) else super.hashCode()
}

/** Writes tables as Java does its collections. */
private class Text {
    private val out = StringBuilder()

    /** Tables that were begun: whether they have ended. */
    private val written = IdentityHashMap<Any, Boolean>()

    fun of(table: Any): String {
        write(table, 0)
        return out.toString()
    }

    private fun write(value: Any?, level: Int) {
        if (value !is TableList && value !is TableMap) {
            out.append(value)
            return
        }
        val ended = written[value]
        if (level == LEVELS || ended == false || ended == true && out.length > LONG) {
            out.append("...")
            return
        }
        written[value] = false
        if (value is TableList) {
            value.joinAll('[', ']') { write(it, level + 1) }
        } else if (value is TableMap) {
            value.entries.joinAll('{', '}') { (key, item) ->
                write(key, level + 1)
                out.append('=')
                write(item, level + 1)
            }
        }
        written[value] = true
    }

    private inline fun <T> Iterable<T>.joinAll(open: Char, close: Char, write: (T) -> Unit) {
        out.append(open)
        forEachIndexed { at, item ->
            if (at > 0) out.append(", ")
            write(item)
        }
        out.append(close)
    }
}
