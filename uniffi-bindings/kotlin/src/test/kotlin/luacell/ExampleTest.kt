package luacell

import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class ExampleTest {
    @Test
    fun `examples-kotlin prints the report`() {
        val examples = File(System.getProperty("luacell.root"), "examples")
        val printed = ByteArrayOutputStream()
        val before = System.out
        System.setOut(PrintStream(printed, true))
        try {
            rules.main(arrayOf(File(examples, "rules.lua").path))
        } finally {
            System.setOut(before)
        }
        assertEquals(File(examples, "rules-report.txt").readText().trim(), printed.toString().trim())
    }
}
