package luacell.readme

import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import luacell.*
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The programs of the README, which have to stand here as they stand there, and print what they say. */
class ReadmeTest {
    @Test
    fun kotlin() {
        assertEquals(listOf("[7.0, 1]", "1", "{a=[1, 2]}"), printed("kotlin", 0, "ReadmeTest.kt", ::program))
    }

    @Test
    fun waiting() {
        assertEquals(listOf("Hello, Ada!"), printed("kotlin", 1, "ReadmeTest.kt", ::waitingProgram))
    }

    @Test
    fun suspending() {
        assertEquals(listOf("Hello, Ada! Hello, Bob!"), printed("kotlin", 2, "ReadmeTest.kt", ::main))
    }

    @Test
    fun java() {
        assertEquals(listOf("7.0"), printed("java", 0, "Readme.java", Readme::program))
    }

    private fun printed(language: String, number: Int, source: String, program: () -> Unit): List<String> {
        val folder = File(System.getProperty("luacell.root"), "uniffi-bindings/kotlin")
        val blocks = File(folder, "README.md").readText().split("```$language\n").drop(1)
        assertEquals(if (language == "kotlin") 3 else 1, blocks.size, "each has its test")
        val block = blocks[number].substringBefore("```")
        val here = File(folder, "src/test/$language").walk().single { it.name == source }.readLines().map { it.trim() }
        for (line in block.lines()) assertTrue(line.trim() in here, "$source lacks: $line")
        val out = ByteArrayOutputStream()
        val before = System.out
        System.setOut(PrintStream(out, true))
        try {
            program()
        } finally {
            System.setOut(before)
            File("state.luacell").delete()
        }
        return out.toString().trim().lines()
    }
}

private fun program() {
    SandboxBuilder().instructionLimit(1_000_000).store("state.luacell").build().use { lua ->
        lua.register("price") { (article) -> if (article.text == "tea") 3.5 else null }
        val outcome = lua.compute("_home.runs = (_home.runs or 0) + 1 return 2 * price('tea'), _home.runs")
        println(outcome.values.map { it.toKotlin() })         // [7.0, 1]
        println(lua.home()["runs"].long)                      // 1
        println(lua.compute("return ...", runOptions(listOf(mapOf("a" to listOf(1, 2))))).value.toKotlin())
    }
}

private fun waitingProgram() {
    Sandbox().use { lua ->
        lua.declare("ask")
        lua.start("return 'Hello, ' .. ask('name') .. '!'").use { run ->
            while (run.isWaiting()) {
                for (request in run.requests()) run.answer(request.id, "Ada")
                run.resume()
            }
            println(run.result().value.text)                  // Hello, Ada!
        }
    }
}

fun main() = runBlocking {
    val lua = Sandbox()
    lua.registerSuspend("ask") { (name) -> delay(100); "Hello, ${name.text}!" }
    val source = "return table.concat(require('task').each({'Ada', 'Bob'}, ask), ' ')"
    println(lua.computeAsync(source).value.text)          // Hello, Ada! Hello, Bob!
}
