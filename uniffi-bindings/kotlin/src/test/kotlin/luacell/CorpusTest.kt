package luacell

import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.io.File
import java.time.Duration
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assertions.fail
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory

/** The conformance corpus that all languages share; its format is in core/tests/cases/README.md. */
class CorpusTest {
    @TestFactory
    fun corpus(): List<DynamicTest> {
        val folder = File(System.getProperty("luacell.root"), "core/tests/cases")
        val files = folder.listFiles { file -> file.name.endsWith(".json") }?.sorted().orEmpty()
        val names = HashSet<String>()
        val tests = files.flatMap { file ->
            JsonParser.parseString(file.readText()).asJsonArray.map { it.asJsonObject }.map { case ->
                val name = case["name"].asString
                assertTrue(names.add(name)) { "two cases are named $name" }
                DynamicTest.dynamicTest("${file.nameWithoutExtension}: $name") { run(case) }
            }
        }
        assertTrue(tests.isNotEmpty()) { "no case was found in $folder" }
        println("corpus: ${tests.size} cases")
        return tests
    }

    private fun run(case: JsonObject) {
        known(case, "name", "needs", "limits", "functions", "declare", "modules", "steps")
        val needs = case["needs"]?.asJsonArray?.map { it.asString }.orEmpty()
        assertTrue(NEEDS.containsAll(needs)) { "unknown needs in $needs" }
        val modules = case["modules"]?.asJsonObject?.entrySet()?.associate { it.key to (LuaValue.Data(bytes(it.value)) as LuaValue) }
        Sandbox(SandboxConfig(limits = case["limits"]?.let { limits(it.asJsonObject) }, modules = modules)).use { lua ->
            case["functions"]?.asJsonArray?.forEach { register(lua, it.asString) }
            case["declare"]?.asJsonArray?.forEach { lua.declare(it.asString) }
            case["steps"].asJsonArray.map { it.asJsonObject }.forEachIndexed { at, step ->
                repeat(step["times"]?.asInt ?: 1) { step(lua, step, "step ${at + 1}") }
            }
        }
    }

    private fun step(lua: Sandbox, step: JsonObject, where: String) {
        val kind = step.keySet().intersect(KINDS).single()
        known(step, kind, "args", "chunk", "times", "waits", "values", "output", "error")
        val args = Builder().table(step["args"]?.asJsonArray ?: JsonArray())
        val options = RunOptions(args, step["chunk"]?.asString)
        var outcome: Outcome? = null
        val output: ByteArray
        try {
            val waits = step["waits"]?.asJsonArray
            if (waits != null) {
                val run = if (kind == "call") lua.startCall(step[kind].asString, options) else lua.start(step[kind].asString, options)
                outcome = run.use { drive(it, waits, where) } ?: return
            } else when (kind) {
                "source" -> outcome = lua.compute(step[kind].asString, options)
                "source_hex" -> outcome = lua.computeData(hex(step[kind].asString), options)
                "source_parts" -> outcome = lua.computeData(
                    step[kind].asJsonArray.map(::bytes).fold(ByteArray(0), ByteArray::plus), options,
                )
                "call" -> outcome = lua.call(step[kind].asString, options)
                "set_input" -> lua.setInput(Builder().value(step[kind]))
                "reopen" -> lua.reset()
                "gc" -> lua.gc()
            }
            output = outcome?.outputData ?: ByteArray(0)
            assertTrue("error" !in step.keySet()) { "$where: expected an error, got ${outcome?.values}" }
        } catch (e: LuaException) {
            assertTrue("error" in step.keySet()) { "$where: $e ${e.details.traceback}" }
            checkError(e.details, step["error"].asJsonObject, where)
            step["output"]?.let { assertEquals(text(bytes(it)), text(e.details.outputData)) { where } }
            return
        }
        step["values"]?.asJsonArray?.let { expected ->
            val values = outcome?.values.orEmpty()
            val matcher = Matcher()
            val fits = expected.size() == values.size && expected.zip(values).all { (e, v) -> matcher.matches(e, v) }
            assertTrue(fits) { "$where: expected ${"$expected".take(500)}, got ${"${values.map { it.show() }}".take(500)}" }
        }
        step["output"]?.let { assertEquals(text(bytes(it)), text(output)) { where } }
    }

    /** Answers what a run waits for, each time that it waits; what it gave, or null if it is cancelled. */
    private fun drive(run: Run, waits: JsonArray, where: String): Outcome? {
        waits.map { it.asJsonObject }.forEachIndexed { at, wait ->
            known(wait, "requests", "answers")
            val requests = run.requests()
            val expected = wait["requests"].asJsonArray.map { it.asJsonObject }
            val fits = run.isWaiting() && expected.size == requests.size && expected.zip(requests).all { (e, r) -> matches(e, r) }
            assertTrue(fits) { "$where: wait ${at + 1}: expected $expected, got $requests" }
            val answers = wait["answers"]?.asJsonArray
            if (answers == null) {
                run.cancel()
                return null
            }
            for (answer in answers.map { it.asJsonObject }) {
                known(answer, "id", "values", "error")
                val (id, error) = answer["id"].asLong to answer["error"]
                if (error != null) run.fail(id, error.asString) else run.answer(id, Builder().table(answer["values"].asJsonArray))
            }
            run.resume()
        }
        assertFalse(run.isWaiting()) { "$where: it waits once more" }
        return run.result()
    }

    private fun matches(expected: JsonObject, request: Request): Boolean {
        known(expected, "id", "name", "args")
        val (args, matcher) = expected["args"]?.asJsonArray to Matcher()
        return expected["id"].asLong == request.id && expected["name"].asString == request.name &&
            (args == null || args.size() == request.args.size && args.zip(request.args).all { (e, v) -> matcher.matches(e, v) })
    }

    private fun checkError(found: ErrorDetails, expected: JsonObject, where: String) {
        known(expected, "kind", "message", "message_contains", "line", "chunk", "traceback_contains")
        val shown = "$where: $found"
        expected["kind"]?.let { assertEquals(it.asString, kindName(found.kind)) { shown } }
        expected["message"]?.let {
            assertEquals(text(bytes(it)), text(found.messageData ?: found.message.toByteArray())) { shown }
        }
        expected["message_contains"]?.let { assertTrue(it.asString in found.message) { shown } }
        expected["line"]?.let { assertEquals(it.asInt, found.line) { shown } }
        expected["chunk"]?.let { assertEquals(it.asString, found.chunk) { shown } }
        expected["traceback_contains"]?.let { assertTrue(it.asString in found.traceback.orEmpty()) { shown } }
    }

    private fun register(lua: Sandbox, name: String) = lua.register(name) { args ->
        when (name) {
            "host.echo" -> Results(*args.toTypedArray())
            "host.add" -> args[0].long!! + args[1].long!!
            "host.fail" -> throw IllegalStateException(args[0].text)
            "host.raise" -> raise(args.firstOrNull())
            "host.call" -> Results(*args[0].function!!.call(args.drop(1)).values.toTypedArray())
            else -> fail("unknown function $name")
        }
    }

    private fun limits(json: JsonObject): Limits {
        known(json, "memory_limit", "instruction_limit", "timeout", "output_limit", "store_limit", "store_entries", "host_call_limit", "source_limit")
        fun number(name: String) = json[name]?.asLong
        return Limits(
            memory = number("memory_limit"),
            instructions = number("instruction_limit"),
            timeout = number("timeout")?.let(Duration::ofMillis),
            output = number("output_limit"),
            storeBytes = number("store_limit"),
            storeEntries = number("store_entries"),
            hostCalls = number("host_call_limit"),
            source = number("source_limit"),
        )
    }
}

private val NEEDS = setOf(
    "args", "call", "input", "clock", "host_functions", "large", "limits", "modules", "reopen", "table_keys", "transactions",
    "waiting",
)
private val KINDS = setOf("source", "source_hex", "source_parts", "call", "set_input", "reopen", "gc")

private fun known(json: JsonObject, vararg names: String) =
    assertTrue(json.keySet().all { it in names }) { "unknown field in ${json.keySet()}" }

private fun kindName(kind: ErrorKind) = kind.name.split("_").joinToString("") { it.lowercase().replaceFirstChar(Char::uppercase) }

/** Every byte as a character, so that differences can be read. */
private fun text(bytes: ByteArray) = String(bytes, Charsets.ISO_8859_1)

private fun hex(text: String) = text.chunked(2).map { it.toInt(16).toByte() }.toByteArray()

private fun bytes(json: JsonElement): ByteArray {
    if (json.isJsonPrimitive) return json.asString.toByteArray()
    val form = json.asJsonObject
    form["hex"]?.let { return hex(it.asString) }
    val (text, times) = form["repeat"].asJsonArray.toList()
    return text.asString.repeat(times.asInt).toByteArray()
}

private fun float(text: String) = when (text) {
    "inf" -> Double.POSITIVE_INFINITY
    "-inf" -> Double.NEGATIVE_INFINITY
    "nan" -> Double.NaN
    else -> text.toDouble()
}

/** A value that is no table. */
private fun plain(json: JsonElement): LuaValue {
    if (json.isJsonNull) return LuaValue.Nil
    if (json.isJsonPrimitive && json.asJsonPrimitive.isBoolean) return LuaValue.Bool(json.asBoolean)
    val form = json.takeIf { it.isJsonObject }?.asJsonObject
    form?.get("int")?.let { return LuaValue.Integer(it.asString.toLong()) }
    form?.get("float")?.let { return LuaValue.Float(float(it.asString)) }
    val bytes = bytes(json)
    val text = bytes.decodeToString()
    return if (text.toByteArray().contentEquals(bytes)) LuaValue.Text(text) else LuaValue.Data(bytes)
}

private fun isTable(json: JsonElement) = json.isJsonObject && json.asJsonObject.keySet().any { it in setOf("array", "table", "ref", "deep") }

/** Makes values. A list of values is one table here, so that what they share is the same in all of them. */
private class Builder {
    private val nodes = ArrayList<TableNode?>()
    private val named = HashMap<Int, Int>()

    fun table(list: JsonArray): List<LuaValue> {
        if (list.none(::isTable)) return list.map(::plain)
        nodes.add(null)
        nodes[0] = TableNode(list.map(::node), emptyList())
        val all = LuaTable.fromNodes(nodes.map { it!! })
        return (1..list.size()).map { all[it] }
    }

    fun value(json: JsonElement) = table(JsonArray().apply { add(json) }).single()

    private fun node(json: JsonElement): NodeValue {
        if (!isTable(json)) return NodeValue.Plain(plain(json))
        val form = json.asJsonObject
        form["ref"]?.let { return NodeValue.Node(named[it.asInt]!!) }
        form["deep"]?.let { depth ->
            val first = nodes.size
            for (level in 1..depth.asInt) {
                nodes.add(TableNode(if (level == depth.asInt) emptyList() else listOf(NodeValue.Node(first + level)), emptyList()))
            }
            return NodeValue.Node(first)
        }
        val number = nodes.size
        nodes.add(null)
        form["id"]?.let { named[it.asInt] = number }
        val items = form["array"]?.asJsonArray?.map(::node).orEmpty()
        val entries = form["table"]?.asJsonArray?.map { NodeEntry(node(it.asJsonArray[0]), node(it.asJsonArray[1])) }.orEmpty()
        nodes[number] = TableNode(items, entries)
        return NodeValue.Node(number)
    }
}

private class Matcher {
    private val seen = HashMap<Int, LuaValue>()

    fun matches(json: JsonElement, value: LuaValue): Boolean {
        val form = json.takeIf { it.isJsonObject }?.asJsonObject ?: return same(plain(json), value)
        assertEquals(1, form.keySet().minus("id").size) { "a value has one form: $form" }
        form["any"]?.let { return true }
        form["function"]?.let { return value is LuaValue.Function }
        form["stored"]?.let { return value is LuaValue.Stored && matches(it, LuaValue.Table(value.table.toTable())) }
        form["ref"]?.let { return identical(seen[it.asInt]!!, value) }
        form["id"]?.let { seen[it.asInt] = value }
        form["deep"]?.let { return isDeep(it.asInt, value) }
        form["array"]?.let { array ->
            val wanted = array.asJsonArray.mapIndexedNotNull { at, item ->
                item.takeIf { !it.isJsonNull }?.let { LuaValue.Integer(at + 1L) to it }
            }
            return value is LuaValue.Table && value.table.count() == wanted.size &&
                wanted.all { (key, item) -> matches(item, value.table.get(key)) }
        }
        form["table"]?.let { table -> return value is LuaValue.Table && entriesMatch(table.asJsonArray, value.table.entries()) }
        return same(plain(json), value)
    }

    private fun entriesMatch(expected: JsonArray, found: List<LuaEntry>): Boolean =
        expected.size() == found.size && expected.map { it.asJsonArray }.all { pair ->
            found.any { matches(pair[0], it.key) && matches(pair[1], it.value) }
        }

    private fun identical(a: LuaValue, b: LuaValue) = when {
        a is LuaValue.Table && b is LuaValue.Table -> a.table.isSame(b.table)
        a is LuaValue.Stored && b is LuaValue.Stored -> a.table.id() == b.table.id()
        else -> false
    }

    private fun isDeep(depth: Int, value: LuaValue): Boolean {
        val nodes = (value as? LuaValue.Table)?.table?.nodes() ?: return false
        return nodes.size == depth && nodes.indices.all { at ->
            nodes[at].entries.isEmpty() &&
                nodes[at].items == if (at == depth - 1) emptyList() else listOf(NodeValue.Node(at + 1))
        }
    }

    /** Equal bit by bit, except that every NaN equals every other. */
    private fun same(expected: LuaValue, value: LuaValue): Boolean = when {
        expected is LuaValue.Data && value is LuaValue.Data -> expected.value.contentEquals(value.value)
        else -> expected == value
    }
}

private fun LuaValue.show(): Any? = when (this) {
    is LuaValue.Table -> "a table of ${table.count()}"
    else -> this
}
