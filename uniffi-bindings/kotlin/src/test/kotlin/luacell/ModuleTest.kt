package luacell

import com.sun.jna.Native
import java.io.File
import java.nio.file.Files
import java.nio.file.Path
import kotlinx.coroutines.Job
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** The artifact as a module, in a JVM of its own. */
class ModuleTest {
    private val bin = Path.of(System.getProperty("java.home"), "bin")

    private fun run(program: String, vararg args: String): String {
        val process = ProcessBuilder(bin.resolve(program).toString(), *args).redirectErrorStream(true).start()
        val output = process.inputStream.readBytes().decodeToString()
        assertEquals(0, process.waitFor(), output)
        return output
    }

    private fun origin(of: Class<*>): Path = Path.of(of.protectionDomain.codeSource.location.toURI())

    private fun copy(from: Path, to: Path) = Files.walk(from).use { files ->
        files.forEach { file ->
            val target = to.resolve(from.relativize(file).toString())
            if (Files.isDirectory(file)) Files.createDirectories(target) else Files.copy(file, target)
        }
    }

    @Test
    fun `a program on the module path`(@TempDir folder: Path) {
        val dependencies = listOf(Unit::class.java, Job::class.java, Native::class.java).map { origin(it).toString() }
        val path = { more: Path -> (dependencies + more.toString()).joinToString(File.pathSeparator) }
        val luacell = folder.resolve("luacell")
        copy(origin(Sandbox::class.java), luacell)
        Files.deleteIfExists(luacell.resolve("module-info.class"))
        val module = Path.of(System.getProperty("luacell.root"), "uniffi-bindings/kotlin/src/main/java/module-info.java")
        run("javac", "-Xlint:-requires-automatic", "-d", "$luacell", "--module-path", path(folder.resolve("none")), "--patch-module", "luacell=$luacell", "$module")

        val sources = Files.createDirectories(folder.resolve("program"))
        Files.writeString(sources.resolve("module-info.java"), "module program { requires luacell; }")
        val main = """
            package program;
            import luacell.*;
            public class Main {
              public static void main(String[] args) throws Exception {
                try (Sandbox lua = new SandboxBuilder().seed(1).build()) {
                  Sandboxes.register(lua, "add", values -> LuaValues.getLong(values.get(0)) + LuaValues.getLong(values.get(1)));
                  System.out.println(LuaValues.toKotlin(Sandboxes.getValue(lua.compute("return {add(1, 2), 'x'}", null))));
                  System.out.println(LuaValues.toKotlin(Sandboxes.getValue(Sandboxes.computeFuture(lua, "return add(20, 3)").get())));
                  try {
                    lua.compute("error('no')", null);
                  } catch (LuaException e) {
                    System.out.println(e.getMessage());
                  }
                }
                System.out.println(Sandbox.class.getModule());
              }
            }
        """
        Files.writeString(Files.createDirectories(sources.resolve("program")).resolve("Main.java"), main.trimIndent())
        val program = folder.resolve("out")
        run("javac", "-d", "$program", "--module-path", path(luacell), "$sources/module-info.java", "$sources/program/Main.java")
        val output = run("java", "--module-path", path(luacell) + File.pathSeparator + program, "--module", "program/program.Main")
        val lines = output.lines().filter { it.isNotEmpty() && "restricted method" !in it && !it.startsWith("WARNING") }
        assertEquals(listOf("[3, x]", "23", "[string \"error('no')\"]:1: no", "module luacell"), lines)
    }
}
