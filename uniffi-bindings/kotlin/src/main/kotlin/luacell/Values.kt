/** Lua values from and to Kotlin's and Java's own. */
@file:JvmName("LuaValues")

package luacell

import java.math.BigInteger
import java.nio.file.Path
import java.time.Duration

/**
 * The Lua value of a Kotlin one: null, booleans, whole numbers (integers), floats and doubles (floats), text, byte arrays (strings), iterables and all other
 * arrays (a sequence), maps, and what is already a Lua value, table or function. Sharing and cycles are preserved.
 *
 * @throws LuaException.Conversion for anything else, for whole numbers of more than 64 bits, text with half a surrogate pair, maps with keys that are
 * one in Lua (`1` and `1L`), and for what does not seem to end, naming its place
 * @throws LuaException.InvalidArgument for a map with the key null or NaN
 */
@Throws(LuaException::class)
fun LuaValue.Companion.of(value: Any?): LuaValue = luaValueOf(value)

/** Like `LuaValue.of`, for Java. */
@JvmName("of")
@Throws(LuaException::class)
fun luaValueOf(value: Any?): LuaValue = luaValueOf(value, "value")

/** The same, under this name in messages. */
internal fun luaValueOf(value: Any?, name: String): LuaValue =
    if (isContainer(value)) LuaValue.Table(tableOf(value, name)) else plain(value) { name }

/** These values, which are called by that name and their number. */
internal fun luaValuesOf(values: List<Any?>, name: String): List<LuaValue> =
    values.mapIndexed { at, value -> luaValueOf(value, "$name ${at + 1}") }

/**
 * The table of an iterable, an array or a map.
 *
 * @throws LuaException.Conversion for what is none, or holds something that Lua has no value for
 */
@Throws(LuaException::class)
fun LuaTable.Companion.of(content: Any?): LuaTable {
    if (content is LuaTable) return content
    if (!isContainer(content)) throw conversion(content, "value")
    return tableOf(content, "value")
}

/**
 * The value as Kotlin's own: null, Boolean, Long, Double, String, ByteArray (for a string that is not UTF-8), List (for a table that is a
 * sequence and not empty), Map (for any other table), [StoredTable], [LuaFunction]. Sharing and cycles are preserved. `toString` leaves out what is nested too
 * deeply. A table that is used as a key equals only itself, as in Lua. To compare other tables that a script may have nested deeply, compare
 * [LuaTable]s.
 */
fun LuaValue.toKotlin(): Any? = when (this) {
    is LuaValue.Nil -> null
    is LuaValue.Bool -> value
    is LuaValue.Integer -> value
    is LuaValue.Float -> value
    is LuaValue.Text -> value
    is LuaValue.Data -> value
    is LuaValue.Table -> table.toKotlin()
    is LuaValue.Stored -> table
    is LuaValue.Function -> function
}

/** The table as a List if it is a sequence and not empty, else as a Map; see [LuaValue.toKotlin]. */
fun LuaTable.toKotlin(): Any {
    val nodes = nodes()
    val keys = HashSet<Int>()
    for (node in nodes) for (entry in node.entries) (entry.key as? NodeValue.Node)?.let { keys.add(it.number) }
    val all = nodes.mapIndexed { number, node ->
        val isSequence = node.entries.isEmpty() && node.items.isNotEmpty() && node.items.none(::isNil)
        if (isSequence) TableList(number in keys, node.items.size) else TableMap(number in keys)
    }
    fun convert(value: NodeValue) = when (value) {
        is NodeValue.Plain -> value.value.toKotlin()
        is NodeValue.Node -> all[value.number]
    }
    for ((node, target) in nodes.zip(all)) {
        when (target) {
            is TableList -> node.items.mapTo(target, ::convert)
            is TableMap -> {
                node.items.forEachIndexed { at, item -> if (!isNil(item)) target[at + 1L] = convert(item) }
                for (entry in node.entries) target[convert(entry.key)] = convert(entry.value)
            }
        }
    }
    return all.first()
}

/** The boolean, if it is one. */
val LuaValue.boolean: Boolean? get() = (this as? LuaValue.Bool)?.value

/** The integer, if it is one, or a float without fraction. */
val LuaValue.long: Long?
    get() = when (this) {
        is LuaValue.Integer -> value
        is LuaValue.Float -> value.toLong().takeIf { it.toDouble() == value && value < 9.223372036854775807E18 }
        else -> null
    }

/** The number as a double, if a double can hold it. */
val LuaValue.double: Double?
    get() = when (this) {
        is LuaValue.Integer -> value.toDouble().takeIf { it.toLong() == value && it < 9.223372036854775807E18 }
        is LuaValue.Float -> value
        else -> null
    }

/** The text, if it is a string of valid UTF-8. */
val LuaValue.text: String? get() = (this as? LuaValue.Text)?.value

/** The bytes, if it is a string. */
val LuaValue.bytes: ByteArray?
    get() = when (this) {
        is LuaValue.Text -> value.toByteArray()
        is LuaValue.Data -> value
        else -> null
    }

/** The table, if it is one by value. */
val LuaValue.table: LuaTable? get() = (this as? LuaValue.Table)?.table

/** The view of a stored table, if it is one. */
val LuaValue.stored: StoredTable? get() = (this as? LuaValue.Stored)?.table

/** The function, if it is one. */
val LuaValue.function: LuaFunction? get() = (this as? LuaValue.Function)?.function

/** The value under a key, which may be any value that [LuaValue.Companion.of] takes; nil if there is none. */
@JvmSynthetic
operator fun LuaTable.get(key: Any?): LuaValue = get(luaValueOf(key))

private fun isNil(value: NodeValue) = value is NodeValue.Plain && value.value is LuaValue.Nil

/** A path is an iterable of paths, which are iterables of paths. */
internal fun isContainer(value: Any?) = value is Iterable<*> && value !is Path || value is Map<*, *> || isArray(value)

/** A byte array is a string. */
private fun isArray(value: Any?) = value != null && value.javaClass.isArray && value !is ByteArray

/** The items of an array, of objects or of numbers. */
internal fun itemsOf(array: Any): List<Any?> = when (array) {
    is IntArray -> array.asList()
    is LongArray -> array.asList()
    is DoubleArray -> array.asList()
    is FloatArray -> array.asList()
    is ShortArray -> array.asList()
    is BooleanArray -> array.asList()
    is CharArray -> array.asList()
    else -> (array as Array<*>).asList()
}

internal fun conversion(value: Any?, place: String): LuaException = refused("a value of ${value?.javaClass?.name}", place)

internal fun refused(what: String, place: String): LuaException =
    LuaException.Conversion(noDetails(ErrorKind.CONVERSION, "$what can't be passed to Lua ($place)"))

internal fun noDetails(kind: ErrorKind, message: String) = ErrorDetails(
    kind, message, null, null, null, null, ByteArray(0), LuaValue.Nil, noMetrics(), null, null,
)

internal fun noMetrics() = Metrics(Duration.ZERO, 0, 0, 0, 0)

internal inline fun plain(value: Any?, place: () -> String): LuaValue = when (value) {
    null -> LuaValue.Nil
    is LuaValue.Text -> value.also { checkedText(it.value, place) }
    is LuaValue -> value
    is Boolean -> LuaValue.Bool(value)
    is Long -> LuaValue.Integer(value)
    is Int, is Short, is Byte -> LuaValue.Integer((value as Number).toLong())
    is UInt -> LuaValue.Integer(value.toLong())
    is UShort -> LuaValue.Integer(value.toLong())
    is UByte -> LuaValue.Integer(value.toLong())
    is ULong -> if (value.toLong() >= 0) LuaValue.Integer(value.toLong()) else throw refused("$value, which does not fit 64 bits with a sign,", place())
    is BigInteger -> if (value.bitLength() < 64) LuaValue.Integer(value.toLong()) else throw refused("an integer of ${value.bitLength()} bits", place())
    is Double -> LuaValue.Float(value)
    is Float -> LuaValue.Float(value.toDouble())
    is CharSequence, is Char -> LuaValue.Text(checkedText(value.toString(), place))
    is ByteArray -> LuaValue.Data(value)
    is LuaTable -> LuaValue.Table(value)
    is StoredTable -> LuaValue.Stored(value)
    is LuaFunction -> LuaValue.Function(value)
    else -> throw conversion(value, place())
}
