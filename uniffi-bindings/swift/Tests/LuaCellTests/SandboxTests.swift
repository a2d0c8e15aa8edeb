import Foundation
import XCTest

import LuaCell

final class SandboxTests: XCTestCase {
    private func assertThrows(_ kind: ErrorKind, _ line: UInt = #line, _ body: () throws -> Void) {
        XCTAssertThrowsError(try body(), line: line) { error in
            XCTAssertEqual((error as? LuaError)?.kind, kind, "\(error)", line: line)
        }
    }

    func testConflictsOfAnOwnStore() throws {
        let store = Store()
        store.conflicts = 2
        let lua = try Sandbox(config: SandboxConfig(ownStore: store))
        XCTAssertEqual(try lua.compute("_home.n = (_home.n or 0) + 1 return _home.n").value, 1)
        store.conflicts = Int.max
        assertThrows(.conflict) { try lua.compute("_home.n = 2") }
        store.conflicts = 0
        XCTAssertEqual(try lua.compute("return _home.n").value, 1)
    }

    func testAGuestThatCrashes() throws {
        let lua = try Sandbox(engine: Engine(config: EngineConfig(maxStack: 64 * 1024)))
        try lua.compute("x = 1 _home.x = 1")
        assertThrows(.trap) { try lua.compute("local function f() return (string.gsub('x', 'x', function() return pcall(f) end)) end f()") }
        XCTAssertEqual(try lua.compute("return x, _home.x").values, [nil, 1])
    }

    func testLiteralsAndConverters() throws {
        let lua = try Sandbox()
        let outcome = try lua.compute("return ...", nil, true, 7, 2.5, "text", [1, [2]], ["a": 1, 2.5: "x", nil: 5], LuaValue(Data([255, 0])))
        XCTAssertEqual(outcome.values, [nil, true, 7, 2.5, "text", [1, [2]], ["a": 1, 2.5: "x"], .data(value: Data([255, 0]))])
        XCTAssertEqual(outcome.values[5].array?.first?.int, 1)
        XCTAssertEqual(outcome.values[6].table?["a"], 1)
        XCTAssertEqual(outcome.values[7].bytes, Data([255, 0]))
        XCTAssertNil(outcome.values[7].string)
        XCTAssertEqual(try lua.compute("return 3.0").value, 3.0)
        XCTAssertNotEqual(try lua.compute("return 3.0").value, LuaValue(3))
        XCTAssertEqual(try lua.compute("return 3.0").value.int, 3)
        XCTAssertNil(try lua.compute("return 2^63").value.int)
        XCTAssertEqual(try lua.compute("").value, .nil)
        XCTAssertEqual(try lua.compute("return {}").value.array, [])
    }

    func testCyclesAndSharedTables() throws {
        let lua = try Sandbox()
        let cycle = try lua.compute("local t = {} t[1] = t t.x = t return t").value.table!
        XCTAssertTrue(cycle[1].table!.isSame(other: cycle))
        XCTAssertEqual(try lua.compute("local t = ... return t[1] == t and t.x == t", LuaValue(cycle)).value, true)
        // A finished table inside new ones is one table.
        let inner = LuaTable([1])
        XCTAssertEqual(try lua.compute("local t = ... return t[1] == t[2]", [LuaValue(inner), LuaValue(inner)]).value, true)
        assertThrows(.invalidArgument) { _ = try LuaTable.fromNodes(nodes: []) }
        assertThrows(.invalidArgument) { _ = try LuaTable.fromNodes(nodes: [TableNode(items: [.node(number: 3)], entries: [])]) }
    }

    func testHome() throws {
        let lua = try Sandbox()
        try lua.compute("_home.seen = 0 function greet(name) _home.seen = _home.seen + 1 return 'hello ' .. name end")
        try lua.call("greet", "Ada")
        XCTAssertEqual(try lua.call("greet", "Grace").value, "hello Grace")
        let home = lua.home()
        XCTAssertEqual(try home.get("seen"), 2)
        try home.set("player", ["name": "Ada", "items": ["tea", "cake"]])
        let player = try home.get("player").stored!
        try player.get("items").stored!.set(3, "moon")
        XCTAssertEqual(try lua.compute("return table.concat(_home.player.items)").value, "teacakemoon")
        XCTAssertEqual(try player.toTable(), LuaTable(entries: [("name", "Ada"), ("items", ["tea", "cake", "moon"])]))
        XCTAssertEqual(try player.count(), 2)
        XCTAssertTrue(try player.remove(key: "name"))
        XCTAssertFalse(try player.remove(key: "name"))
        try player.clear()
        XCTAssertEqual(try player.entries().count, 0)
        assertThrows(.conversion) { try home.set("f", lua.compute("return function() end").value) }
        assertThrows(.runtime) { try lua.compute("_home.x = 1 error('no')") }
        XCTAssertEqual(try home.get("x"), .nil)
    }

    func testInputAndOutput() throws {
        let lua = try Sandbox()
        try lua.setInput(value: ["n": 20])
        try lua.compute("_io.output = {twice = _io.input.n * 2} _io.meta = 'm'")
        XCTAssertEqual(try lua.output().stored!.get("twice"), 40)
        XCTAssertEqual(try lua.meta(), "m")
        try lua.clearIo()
        XCTAssertEqual(try lua.input(), .nil)
    }

    func testHostFunctions() throws {
        let lua = try Sandbox()
        try lua.register("shop.price") { $0[0].string == "tea" ? 3.5 : nil }
        XCTAssertEqual(try lua.compute("return 2 * shop.price('tea')").value, 7.0)
        try lua.registerMany("two") { _ in [1, [2]] }
        XCTAssertEqual(try lua.compute("return two()").values, [1, [2]])
        try lua.register("again") { [unowned lua] args in
            LuaValue(try lua.compute("return 20").value.int! + args[0].function!(1, 2).int!)
        }
        XCTAssertEqual(try lua.compute("return again(function(a, b) return a + b end)").value, 23)
        XCTAssertTrue(try lua.unregister(name: "two"))
        XCTAssertFalse(try lua.unregister(name: "two"))
        assertThrows(.invalidArgument) { try lua.register("no name") { _ in nil } }
    }

    func testWhatAHostFunctionThrows() throws {
        let lua = try Sandbox()
        let thrown = TestError(text: "no such article")
        try lua.register("fail") { _ in throw thrown }
        do {
            try lua.compute("fail()")
            XCTFail("it fails")
        } catch let error as LuaError {
            XCTAssertEqual(error.kind, .hostFunction)
            XCTAssertEqual(error.underlying as? TestError, thrown)
            XCTAssertTrue(error.message.contains("no such article"))
            XCTAssertTrue(error.localizedDescription.contains("no such article"))
        }
        XCTAssertEqual(try lua.compute("local ok, e = pcall(fail) return e:match('no.*')").value, "no such article")
        try lua.register("raise") { _ in throw HostError.raise(["code": 7]) }
        XCTAssertEqual(try lua.compute("local ok, e = pcall(raise) return e.code").value, 7)
        try lua.register("inner") { [unowned lua] _ in try lua.compute("local t = nil\nreturn t.x", name: "=inner").value }
        do {
            try lua.compute("inner()")
            XCTFail("it fails")
        } catch LuaError.Runtime(let details) {
            XCTAssertEqual(details.message, "inner:2: attempt to index a nil value (local 't')")
        }
    }

    func testErrorsSayEverything() throws {
        let lua = try Sandbox()
        do {
            try lua.compute("print('before')\nlocal t = nil\nreturn t.x", name: "=demo")
            XCTFail("it fails")
        } catch let error as LuaError {
            XCTAssertEqual(error.message, "demo:3: attempt to index a nil value (local 't')")
            XCTAssertEqual("\(error)", error.message)
            XCTAssertEqual(error.kind, .runtime)
            XCTAssertEqual(error.line, 3)
            XCTAssertEqual(error.details.chunk, "demo")
            XCTAssertEqual(error.output, "before\n")
            XCTAssertTrue(error.details.traceback!.contains("demo:3"))
            XCTAssertGreaterThan(error.details.metrics.instructions, 0)
            XCTAssertNil(error.underlying)
        }
    }

    func testEveryKindOfError() throws {
        let lua = try Sandbox()
        try lua.register("f") { _ in nil }
        assertThrows(.syntax) { try lua.compute("return +") }
        assertThrows(.memory) { try lua.compute("return ('x'):rep(1 << 24)", limits: Limits(memory: 4 << 20)) }
        assertThrows(.instructionLimit) { try lua.compute("while true do end", limits: Limits(instructions: 10_000)) }
        assertThrows(.timeout) { try lua.compute("while true do end", limits: Limits(timeout: 0.001)) }
        assertThrows(.outputLimit) { try lua.compute("print('more than ten bytes')", limits: Limits(output: 10)) }
        assertThrows(.storeLimit) { try lua.compute("_home.x = ('x'):rep(100)", limits: Limits(storeBytes: 10)) }
        assertThrows(.hostCallLimit) { try lua.compute("f() f()", limits: Limits(hostCalls: 1)) }
        assertThrows(.invalidArgument) { try lua.compute("return 1", limits: Limits(source: 3)) }
        assertThrows(.conversion) { try lua.compute("return coroutine.create(print)") }
        assertThrows(.store) { _ = try Sandbox(limits: Limits(), store: "nowhere://x") }
        let other = try Sandbox()
        assertThrows(.invalidArgument) { try lua.compute("return ...", LuaValue(other.home())) }
        let function = try other.compute("return function() end").value.function!
        other.shutDown()
        assertThrows(.closed) { try other.compute("return 1") }
        assertThrows(.closed) { try function() }
        XCTAssertEqual(try lua.compute("return 1", limits: Limits(noTimeout: true, hostCalls: -1)).value, 1)
    }

    func testBusyAndInterrupted() throws {
        let lua = try Sandbox()
        let running = DispatchSemaphore(value: 0)
        let ended = DispatchSemaphore(value: 0)
        try lua.register("started") { _ in
            running.signal()
            return nil
        }
        let kind = Box<ErrorKind>()
        Thread.detachNewThread {
            do { try lua.compute("started() while true do pcall(error) end") } catch { kind.value = (error as? LuaError)?.kind }
            ended.signal()
        }
        running.wait()
        assertThrows(.busy) { try lua.compute("return 1") }
        lua.interrupt()
        ended.wait()
        XCTAssertEqual(kind.value, .interrupted)
        XCTAssertEqual(try lua.compute("return 1").value, 1)
    }

    func testAsync() async throws {
        let lua = try Sandbox()
        let three = try await lua.computeAsync("return 1 + ...", 2)
        XCTAssertEqual(three.value, 3)
        try lua.compute("function twice(x) return 2 * x end")
        let fourteen = try await lua.callAsync("twice", 7)
        XCTAssertEqual(fourteen.value, 14)
        do {
            try await lua.computeAsync("return +")
            XCTFail("it fails")
        } catch LuaError.Syntax {}
        let sum = try await withThrowingTaskGroup(of: Int64.self) { group in
            for n in 0..<8 {
                group.addTask { try await Sandbox().computeAsync("return ...", LuaValue(n)).value.int! }
            }
            return try await group.reduce(0, +)
        }
        XCTAssertEqual(sum, 28)
    }

    func testCancellingATaskInterruptsItsScriptAndNoOther() async throws {
        let lua = try Sandbox()
        for round in 0..<1000 {
            let running = DispatchSemaphore(value: 0)
            try lua.register("started") { _ in
                running.signal()
                return nil
            }
            let task = Task.detached { try await lua.computeAsync("started() while true do end") }
            // Also when it has hardly begun, or not yet.
            if round % 3 == 0 { wait(running) }
            if round % 3 == 1 { await Task.yield() }
            task.cancel()
            switch await task.result {
            case .success: XCTFail("it never ends")
            case .failure(let error): XCTAssertTrue(error is CancellationError, "\(error)")
            }
            XCTAssertEqual(try lua.compute("return 1").value, 1)
        }
    }

    private func wait(_ semaphore: DispatchSemaphore) { semaphore.wait() }

    func testWhenASandboxWasShutDownNoRunIsLeft() throws {
        for _ in 0..<50 {
            let lua = try Sandbox()
            let running = DispatchSemaphore(value: 0)
            let ended = DispatchSemaphore(value: 0)
            let over = Box<Bool>()
            try lua.register("started") { _ in
                running.signal()
                return nil
            }
            try lua.register("over") { _ in
                over.value = true
                return nil
            }
            Thread.detachNewThread {
                let result = try? lua.compute("started() for i = 1, 100000 do end over() return 1").value
                XCTAssertEqual(result, 1)
                ended.signal()
            }
            running.wait()
            lua.shutDown()
            XCTAssertEqual(over.value, true)
            ended.wait()
            let home = lua.home()
            assertThrows(.closed) { try lua.compute("return 1") }
            assertThrows(.closed) { _ = try home.get(key: "x") }
            assertThrows(.closed) { _ = try lua.tableCount() }
            lua.interrupt()
            lua.shutDown()
        }
        let lua = try Sandbox()
        try lua.register("close") { [weak lua] _ in
            lua?.shutDown()
            return nil
        }
        XCTAssertEqual(try lua.compute("close() return 2").value, 2)
        assertThrows(.closed) { try lua.compute("return 1") }
    }

    /// Each in a host function, which takes a thread: more than pools of threads use to have.
    func testRunsMayWaitForRuns() async throws {
        let all = try (0..<600).map { _ in try Sandbox() }
        for (lua, next) in zip(all, all.dropFirst()) {
            try lua.register("next") { _ in
                let (done, result) = (DispatchSemaphore(value: 0), Box<LuaValue>())
                Task.detached {
                    result.value = try? await next.computeAsync("return next() + 1").value
                    done.signal()
                }
                done.wait()
                return result.value ?? nil
            }
        }
        try all[599].register("next") { _ in 1 }
        let count = try await all[0].computeAsync("return next() + 1").value
        XCTAssertEqual(count, 601)
    }

    func testForgottenSandboxesGoAtOnce() throws {
        let before = memoryInUse()
        var most: Int64 = 0
        for n in 0..<3000 {
            let lua = try Sandbox()
            if n % 2 == 0 {
                try lua.compute("x = ('x'):rep(1000000)")
            } else {
                try lua.home().set(key: "x", value: LuaValue(String(repeating: "x", count: 1_000_000)))
            }
            most = max(most, memoryInUse() - before)
        }
        XCTAssertLessThan(most, 64 << 20)
        XCTAssertEqual(memoryInUse(), before)
    }

    func testAStoreInSwift() throws {
        let store = Store()
        try Sandbox(config: SandboxConfig(ownStore: store)).compute("_home.a = {1, 2, {x = 'y'}} _home.b = 'gone'")
        let lua = try Sandbox(config: SandboxConfig(ownStore: store))
        XCTAssertEqual(try lua.compute("_home.b = nil return _home.a[3].x").value, "y")
        assertThrows(.runtime) { try lua.compute("_home.c = 1 error('no')") }
        XCTAssertEqual(try store.keys(table: 1), ["a"])
        let other = try Sandbox(config: SandboxConfig(ownStore: store))
        store.broken = true
        XCTAssertThrowsError(try other.compute("return _home.a")) { error in
            XCTAssertEqual((error as? LuaError)?.kind, .store)
            XCTAssertTrue("\(error)".contains("the disk is gone"), "\(error)")
            XCTAssertEqual((error as? LuaError)?.underlying as? TestError, TestError(text: "the disk is gone"))
        }
        XCTAssertFalse(try other.compute("return select(2, pcall(function() return _home.b end))").value.string!.contains("disk"))
    }

    func testAScriptSeesOfAnErrorWhatWasChosen() throws {
        let lua = try Sandbox()
        struct Plain: Error { let password = "hunter2" }
        struct Worded: Error, CustomStringConvertible {
            let password = "hunter2"
            let description = "no such article"
        }
        let error = Box<any Error>()
        try lua.register("f") { _ in throw error.value! }
        try lua.register(name: "g", function: Throwing(error), repeatable: false)
        let system = NSError(domain: NSCocoaErrorDomain, code: 4, userInfo: [NSFilePathErrorKey: "/etc/hunter2", NSLocalizedDescriptionKey: "/etc/hunter2"])
        for hidden in [Plain(), system, CocoaError(.fileNoSuchFile), DecodingError.valueNotFound(Int.self, .init(codingPath: [], debugDescription: "hunter2"))] as [any Error] {
            error.value = hidden
            for name in ["f", "g"] {
                let seen = try lua.compute("return select(2, pcall(\(name)))").value.string!
                XCTAssertTrue(seen.hasSuffix("the host function failed"), seen)
                XCTAssertThrowsError(try lua.compute("\(name)()")) { XCTAssertNotNil(($0 as? LuaError)?.underlying) }
            }
        }
        for shown in [TestError(text: "no such article"), Worded(), HostError.Failed(reason: "no such article", failure: nil)] as [any Error] {
            error.value = shown
            for name in ["f", "g"] {
                XCTAssertTrue(try lua.compute("return select(2, pcall(\(name)))").value.string!.hasSuffix("no such article"))
            }
        }
    }

    func testTablesThatAScriptMadeCanBePrintedHashedAndCompared() throws {
        let lua = try Sandbox()
        for source in [
            "for _ = 1, 100000 do t = {t} end", "for _ = 1, 100000 do t = {[t] = t} end", "for _ = 1, 60 do t = {t, t, [t] = {t}} end",
            "t[1] = t t[t] = t",
        ] {
            let outcome = try lua.compute("local t = {} \(source) return t, {[t] = 1}")
            XCTAssertLessThan("\(outcome.values)".utf8.count, 1000)
            XCTAssertLessThan(String(reflecting: outcome).utf8.count, 100 << 20)
            for table in outcome.values.map({ $0.table! }) {
                XCTAssertEqual(table, table)
                XCTAssertEqual(Set([table, table]).count, 1)
            }
        }
    }

    func testLookingAtValuesRunsNoScript() throws {
        let lua = try Sandbox()
        let calls = Box<Int>()
        try lua.register("touch") { _ in
            calls.value = (calls.value ?? 0) + 1
            return nil
        }
        let values = try lua.compute("""
            local meta, t = {}, {}
            for _, name in ipairs {'description', 'hash', 'hashValue', '__tostring', '__eq', '__index', '__len', '__pairs', '__call', '__name', '__close'} do
              meta[name] = touch t[name] = touch _home[name] = name
            end
            return setmetatable(t, meta), {[t] = t}, touch, function() touch() end, _home
            """).values
        for value in values {
            _ = "\(value)" + String(reflecting: value) + "\(value == values[0])"
            _ = [value.string as Any, value.bytes as Any, value.int as Any, value.array as Any, try value.stored?.keys() as Any]
        }
        XCTAssertNil(calls.value)
    }

    func testAFunctionThatOutlivesItsRunIsUnderTheLimitsOfTheSandbox() throws {
        let lua = try Sandbox(limits: Limits(memory: 8 << 20, instructions: 100_000))
        let source = "return function() while true do pcall(error) end end, function() return ('x'):rep(1 << 26) end"
        let functions = try lua.compute(source, limits: Limits(memory: -1, instructions: -1)).values.map { $0.function! }
        assertThrows(.instructionLimit) { try functions[0]() }
        assertThrows(.memory) { try functions[1]() }
    }

    func testAStoreInAFile() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("luacell-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Sandbox(limits: Limits(), store: path).compute("_home.n = 41")
        XCTAssertEqual(try Sandbox(limits: Limits(), store: path).compute("return _home.n + 1").value, 42)
    }

    func testPrintedText() throws {
        let printed = Box<String>()
        let lua = try Sandbox(config: SandboxConfig(printer: printer { printed.value = (printed.value ?? "") + $0 }))
        XCTAssertEqual(try lua.compute("print('a') print('b')").output, "")
        XCTAssertEqual(printed.value, "a\nb\n")
        XCTAssertEqual(try Sandbox().compute("print('a')").output, "a\n")
    }

    func testModules() throws {
        let lua = try Sandbox(config: SandboxConfig(modules: ["m": "return 5"]))
        XCTAssertEqual(try lua.compute("return require 'm'").value, 5)
        let own = try Sandbox(config: SandboxConfig(moduleSource: Modules()))
        XCTAssertEqual(try own.compute("return require 'm'").value, 7)
        assertThrows(.runtime) { try own.compute("require 'other'") }
        XCTAssertFalse(try own.compute("return select(2, pcall(require, 'bad'))").value.string!.contains("look"))
        XCTAssertThrowsError(try own.compute("require 'bad'")) { error in
            XCTAssertEqual((error as? LuaError)?.underlying as? TestError, TestError(text: "can't look"))
        }
        assertThrows(.invalidArgument) { _ = try Sandbox(config: SandboxConfig(modules: [:], moduleFolder: "x")) }
    }

    func testSnapshots() throws {
        let lua = try Sandbox()
        try lua.compute("next = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) next() _home.x = 1")
        let snapshot = try lua.snapshot()
        XCTAssertEqual(try lua.call("next").value, 2)
        try lua.restore(snapshot: snapshot)
        XCTAssertEqual(try lua.call("next").value, 2)
        let again = try Snapshot.fromBytes(bytes: snapshot.toBytes())
        XCTAssertEqual(try Sandbox.fromSnapshot(snapshot: again).call("next").value, 2)
        let fork = try lua.fork()
        try fork.compute("_home.x = 2")
        XCTAssertEqual(try fork.call("next").value, 3)
        XCTAssertEqual(try lua.home().get("x"), 1)
        assertThrows(.invalidArgument) { _ = try Snapshot.fromBytes(bytes: Data([1, 2, 3])) }
    }

    func testEnginesMemoryAndSeeds() throws {
        let engine = try Engine(config: EngineConfig(poolSize: 2))
        let lua = try Sandbox(engine: engine)
        try lua.compute("t = {} for i = 1, 1000 do t[i] = {} end")
        let before = try lua.memoryStats().luaBytes
        try lua.compute("t = nil")
        try lua.gc()
        XCTAssertLessThan(try lua.memoryStats().luaBytes, before)
        try lua.reset()
        func once() throws -> Outcome { try Sandbox(config: SandboxConfig(seed: 5)).compute("return math.random(1000000), os.time()") }
        XCTAssertEqual(try once().values, try once().values)
        XCTAssertEqual(try once().metrics, try once().metrics)
    }

    func testAMillionComputesDoNotGrow() throws {
        let lua = try Sandbox()
        try lua.register("f") { $0[0] }
        func resident() -> Int {
            let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
            return text.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * 4096 } ?? 0
        }
        func some(_ times: Int) throws { for _ in 0..<times { try lua.compute("return 1") } }
        try some(200_000)
        let before = resident()
        for _ in 0..<50 {
            try some(15_996)
            _ = try lua.compute("print('x') return {1, {2}}").value.array
            try lua.compute("return f(1)")
            XCTAssertThrowsError(try lua.compute("error('x')"))
            _ = try lua.compute("return print").value.function
        }
        XCTAssertLessThan(resident() - before, 8 << 20)
    }
}

/// Set on one thread, read on another one after it.
final class Box<T>: @unchecked Sendable {
    var value: T?
}

private final class Store: TableStore, @unchecked Sendable {
    var tables: [Int64: [String: Data]] = [:]
    var broken = false
    var conflicts = 0

    func get(table: Int64, key: String) throws -> Data? {
        if broken { throw TestError(text: "the disk is gone") }
        return tables[table]?[key]
    }
    func set(table: Int64, key: String, value: Data) throws {
        conflicts -= 1
        if conflicts >= 0 { throw HostError.Conflict(reason: "somebody was faster") }
        tables[table, default: [:]][key] = value
    }
    func delete(table: Int64, key: String) throws { tables[table]?[key] = nil }
    func size(table: Int64) throws -> Int64 { Int64(tables[table]?.count ?? 0) }
    func keys(table: Int64) throws -> [String] { (tables[table] ?? [:]).keys.sorted() }
}

private final class Throwing: HostFunction {
    let error: Box<any Error>
    init(_ error: Box<any Error>) { self.error = error }
    func invoke(args: [LuaValue]) throws -> [LuaValue] { throw error.value! }
}

private final class Modules: ModuleSource {
    func source(name: String) throws -> Data? {
        if name == "bad" { throw TestError(text: "can't look") }
        return name == "m" ? Data("return 7".utf8) : nil
    }
}
