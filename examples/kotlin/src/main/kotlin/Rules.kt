/** A rules engine: orders go in, rules written in Lua decide, and counters are kept. A rule that never ends is stopped. */
package rules

import java.io.File
import luacell.LuaException
import luacell.SandboxBuilder
import luacell.call
import luacell.register
import luacell.runOptions
import luacell.setInput
import luacell.text
import luacell.value

private val prices = mapOf("tea" to 3.5, "cake" to 2.25)

private fun order(customer: String, box: Int, vararg items: Pair<String, Int>) = mapOf(
    "customer" to customer,
    "box" to box,
    "items" to items.map { (article, count) -> mapOf("article" to article, "count" to count) },
)

private val orders = listOf(
    order("Ada", 4, "tea" to 2, "cake" to 1),
    order("Ada", 4, "moon" to 1),
    order("Grace", 4, "tea" to 10),
    order("Eve", 0, "tea" to 1),
    order("Ada", 1, "tea" to 1),
)

/** The first argument is the file with the rules. */
fun main(args: Array<String>) {
    val rules = File(args.firstOrNull() ?: "../rules.lua")
    SandboxBuilder().instructionLimit(100_000).build().use { lua ->
        lua.register("price") { (article) -> prices[article.text] }
        lua.compute(rules.readText(), runOptions(name = "=rules"))
        orders.forEachIndexed { at, order ->
            lua.setInput(order)
            val answer = try {
                lua.call("decide").value.text
            } catch (e: LuaException.InstructionLimit) {
                "stopped"
            } catch (e: LuaException.Runtime) {
                "refused: ${e.message}"
            }
            println("order ${at + 1}: $answer")
        }
        println(lua.call("report").value.text)
    }
}
