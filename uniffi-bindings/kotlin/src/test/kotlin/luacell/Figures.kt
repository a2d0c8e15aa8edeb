/** What `cargo xtask bench --mobile` asks for: on each line a name and nanoseconds. */
package luacell

/** The median time of one of `times` calls. */
private fun median(times: Int, action: () -> Unit): Double {
    fun round(): Double {
        val start = System.nanoTime()
        repeat(times) { action() }
        return (System.nanoTime() - start).toDouble() / times
    }
    repeat(5) { round() } // the JVM compiles
    return List(11) { round() }.sorted()[5]
}

private fun figure(name: String, nanoseconds: Number) = println("$name\t$nanoseconds")

/** Measures in this process, which has to be a new one. */
fun main() {
    val start = System.nanoTime()
    uniffiEnsureInitialized()
    val loaded = System.nanoTime()
    val lua = Sandbox()
    check(lua.compute("return 1+1").value == LuaValue.Integer(2))
    val first = System.nanoTime()
    figure("load", loaded - start)
    figure("first", first - loaded)
    figure("compute", median(20_000) { lua.compute("return 1+1") })
    lua.register("add") { (a, b) -> LuaValue.Integer(a.long!! + b.long!!) }
    figure("hostcall", median(20) { lua.compute("local add = add for i = 1, 1000 do add(i, 2) end") } / 1000)
    figure("create", median(2_000) { Sandbox().close() })
    lua.close()
}
