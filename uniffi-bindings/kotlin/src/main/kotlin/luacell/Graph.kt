package luacell

import java.nio.ByteBuffer
import java.util.IdentityHashMap

/** What has more values, tables or levels than a sandbox of ordinary size can hold, or this JVM, is taken for something without an end. */
private val MOST_VALUES = atMost(10_000_000, 100)
private val MOST_TABLES = atMost(2_000_000, 1000)
private const val MOST_LEVELS = 200_000

/** The same for iterables that don't know their size: they often compute what they give. */
private const val MOST_UNSIZED = 1_000_000
private const val MOST_UNSIZED_LEVELS = 100

/** Fewer where each takes so many bytes of a small heap. */
private fun atMost(most: Int, size: Int): Int = minOf(most.toLong(), Runtime.getRuntime().maxMemory() / size).toInt()

/** The table of a container, which is called by this name in messages. */
internal fun tableOf(content: Any?, name: String): LuaTable = LuaTable.fromNodes(Graph(name).nodes(content!!))

/** Containers by number: one call makes tables of them all. */
private class Graph(private val name: String) {
    /** A container, and where it was found first. */
    private class Container(val value: Any, val parent: Container?, val key: Any?) {
        val isSized = value !is Iterable<*> || value is Collection<*>
        val level: Int = 1 + (parent?.level ?: 0)
        val unsizedLevel: Int = (if (isSized) 0 else 1) + (parent?.unsizedLevel ?: 0)

        val size = when (value) {
            is Map<*, *> -> value.size
            is Collection<*> -> value.size
            is Iterable<*> -> 0
            else -> itemsOf(value).size
        }
    }

    private val numbers = IdentityHashMap<Any, Int>()
    private val containers = ArrayList<Container>()
    private var values = 0

    fun nodes(root: Any): List<TableNode> {
        add(root, null, null)
        val nodes = ArrayList<TableNode>()
        while (nodes.size < containers.size) nodes.add(node(containers[nodes.size]))
        return nodes
    }

    private fun node(container: Container): TableNode {
        if (container.size > MOST_VALUES - values) throw refused("more than $MOST_VALUES values", place(container))
        val most = maxOf(container.size, MOST_UNSIZED)
        var count = 0
        fun next(): Int {
            if (++count > most) throw refused("more than $most values of one ${container.value.javaClass.name}", place(container))
            return count
        }
        val content = container.value
        return if (content is Map<*, *>) {
            val keys = if (content.keys.all { it is String }) null else HashSet<Any>()
            TableNode(emptyList(), content.map { (key, value) ->
                next()
                val entry = NodeEntry(nodeValue(key, container, null), nodeValue(value, container, key))
                if (keys != null && same(entry.key)?.let(keys::add) == false) throw refused("a map with two keys that are the same in Lua", place(container) + step(key))
                entry
            })
        } else {
            val items = content as? Iterable<*> ?: itemsOf(content)
            TableNode(items.map { nodeValue(it, container, next()) }, emptyList())
        }
    }

    private fun nodeValue(value: Any?, parent: Container, key: Any?): NodeValue {
        if (++values > MOST_VALUES) throw refused("more than $MOST_VALUES values", place(parent))
        return if (isContainer(value)) add(value!!, parent, key) else NodeValue.Plain(plain(value) { place(parent) + step(key) })
    }

    /** What is equal for keys that are one in Lua; nothing for what equals only itself. */
    private fun same(key: NodeValue): Any? = when (val value = (key as? NodeValue.Plain)?.value) {
        is LuaValue.Bool -> value.value
        is LuaValue.Integer, is LuaValue.Float -> value.long ?: value.double
        is LuaValue.Text -> value.value
        is LuaValue.Data -> value.value.decodeToString().takeIf { it.toByteArray().contentEquals(value.value) } ?: ByteBuffer.wrap(value.value)
        else -> null
    }

    private fun add(value: Any, parent: Container?, key: Any?): NodeValue = NodeValue.Node(
        numbers.getOrPut(value) {
            val container = Container(value, parent, key)
            if (container.level > MOST_LEVELS) throw refused("a value of more than $MOST_LEVELS levels", place(container))
            if (container.unsizedLevel > MOST_UNSIZED_LEVELS) throw refused("iterables of iterables without an end", place(container))
            if (containers.size >= MOST_TABLES) throw refused("more than $MOST_TABLES lists and maps in one value", place(container))
            containers.add(container)
            containers.size - 1
        },
    )

    /** As in messages of the library: a long way is cut in the middle. */
    private fun place(container: Container): String {
        val steps = generateSequence(container) { it.parent }.takeWhile { it.parent != null }.map { step(it.key) }.toList().asReversed()
        val shown = if (steps.size > 12) steps.take(6) + "..." + steps.takeLast(6) else steps
        return name + shown.joinToString("")
    }

    private fun step(key: Any?): String = when (key) {
        is CharSequence -> key.take(60).toString().let { if (NAME.matches(it)) ".$it" else "[\"$it\"]" }
        is Number, is Boolean -> "[$key]"
        null -> "[key]"
        else -> "[table]"
    }

    private companion object {
        val NAME = Regex("[A-Za-z_][A-Za-z0-9_]*")
    }
}
