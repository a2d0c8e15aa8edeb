import Foundation
import XCTest

import LuaCell

/// Something that happens once, and that tasks wait for.
private actor Event {
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private var happened = false

    func happen() {
        happened = true
        for one in waiting { one.resume() }
        waiting = []
    }

    func wait() async {
        if happened { return }
        await withCheckedContinuation { waiting.append($0) }
    }
}

private final class Counter: @unchecked Sendable {
    private let lock = NSLock()
    private var n = 0

    /// Adds this, and gives what it is then.
    @discardableResult
    func add(_ step: Int) -> Int {
        lock.withLock {
            n += step
            return n
        }
    }
}

/// Waits until the task is cancelled.
private func forever() async throws -> LuaValue {
    while true { try await Task.sleep(nanoseconds: 1_000_000_000_000) }
}

/// Host functions that are async closures.
final class AsyncFunctionTests: XCTestCase {
    @TaskLocal static var mark = "none"

    private func assertThrows(_ kind: ErrorKind, _ line: UInt = #line, _ body: () async throws -> Void) async {
        do {
            try await body()
            XCTFail("nothing was thrown", line: line)
        } catch {
            XCTAssertEqual((error as? LuaError)?.kind, kind, "\(error)", line: line)
        }
    }

    private func file() -> String {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        addTeardownBlock { try? FileManager.default.removeItem(at: file) }
        return file.path
    }

    func testTasksWaitSideBySide() async throws {
        let lua = try Sandbox()
        let (both, begun) = (Event(), Counter())
        try lua.registerManyAsync("ask") { args in
            // None is answered before both have asked.
            if begun.add(1) == 2 { await both.happen() }
            await both.wait()
            return [args[0], LuaValue(Self.mark)]
        }
        let source = "return require('task').all(function() return ask('a') end, function() return (select(2, ask('b'))) end)"
        try await Self.$mark.withValue("mine") {
            let values = try await lua.computeAsync(source).values
            XCTAssertEqual(values, ["a", "mine"])
            try lua.compute("function f(x) return ask(x) end")
            let called = try await lua.callAsync("f", "x").values
            XCTAssertEqual(called, ["x", "mine"])
        }
    }

    func testBlockingRunsWait() throws {
        let lua = try Sandbox()
        try lua.registerAsync("ask") { args in
            try await Task.sleep(nanoseconds: 1_000_000)
            return args[0]
        }
        XCTAssertEqual(try lua.compute("return ask('c')").value, "c")
        XCTAssertEqual(try lua.start("return ask('d')").result().value, "d")
    }

    func testNoThreadIsHeld() async throws {
        let all = try (0..<500).map { _ in try Sandbox() }
        let (waiting, everybody) = (Counter(), Event())
        for lua in all {
            try lua.registerAsync("wait") { _ in
                if waiting.add(1) == 500 { await everybody.happen() }
                await everybody.wait()
                return LuaValue(Self.threads())
            }
        }
        let before = Self.threads()
        let most = try await withThrowingTaskGroup(of: Int.self) { group in
            for lua in all { group.addTask { Int(try await lua.computeAsync("return wait()").value.int!) } }
            return try await group.reduce(0, max)
        }
        XCTAssertLessThan(most - before, 100)
    }

    /// Those of the library too; 0 where nobody says.
    private static func threads() -> Int {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count) ?? 0
    }

    func testErrors() async throws {
        let lua = try Sandbox()
        try lua.registerAsync("order") { _ in throw TestError(text: "no such order") }
        try lua.registerAsync("raised") { _ in throw HostError.raise(["code": 7]) }
        let raised = try await lua.computeAsync("return select(2, pcall(raised)).code").value
        XCTAssertEqual(raised, 7)
        do {
            try await lua.computeAsync("order()")
            XCTFail("nothing was thrown")
        } catch let error as LuaError {
            XCTAssertEqual(error.kind, .hostFunction)
            XCTAssertEqual(error.underlying as? TestError, TestError(text: "no such order"))
        }
        await assertThrows(.invalidArgument) { try lua.registerAsync("no name") { _ in nil } }
    }

    func testCancelling() async throws {
        let lua = try Sandbox()
        let (begun, ended) = (Event(), Counter())
        try lua.registerAsync("forever") { _ in
            await begun.happen()
            defer { ended.add(1) }
            return try await forever()
        }
        let run = Task { try await lua.computeAsync("forever()") }
        await begun.wait()
        run.cancel()
        do {
            _ = try await run.value
            XCTFail("nothing was thrown")
        } catch {
            XCTAssertTrue(error is CancellationError, "\(error)")
        }
        XCTAssertEqual(ended.add(0), 1)
        XCTAssertEqual(try lua.compute("return 1").value, 1)
        await assertThrows(.timeout) { try await lua.computeAsync("forever()", limits: Limits(timeout: 0.005)) }
        XCTAssertEqual(ended.add(0), 2)
    }

    func testWhatIsNotNeededIsCancelled() async throws {
        let lua = try Sandbox()
        let cancelled = Event()
        try lua.registerAsync("slow") { _ in
            do {
                return try await forever()
            } catch {
                await cancelled.happen()
                throw error
            }
        }
        try lua.registerAsync("quick") { _ in 1 }
        try lua.registerAsync("seen") { _ in
            await cancelled.wait()
            return nil
        }
        let source = "local n = require('task').race(function() return slow() end, function() return quick() end) seen() return n"
        let value = try await lua.computeAsync(source).value
        XCTAssertEqual(value, 1)
    }

    func testRepeatable() async throws {
        let store = file()
        let lua = try Sandbox(config: SandboxConfig(store: store))
        let other = try Sandbox(config: SandboxConfig(store: store))
        let calls = Counter()
        let price: @Sendable ([LuaValue]) async throws -> LuaValue = { _ in
            if calls.add(1) % 2 == 1 { try other.compute("_home.n = 10") }
            return 1
        }
        let source = "_home.n = (_home.n or 0) + price() return _home.n"
        try lua.registerAsync("price", repeatable: true, price)
        let value = try await lua.computeAsync(source).value
        XCTAssertEqual(value, 11)
        XCTAssertEqual(calls.add(0), 2)
        try lua.registerAsync("price", price)
        await assertThrows(.conflict) { try await lua.computeAsync(source) }
        XCTAssertEqual(calls.add(0), 3)
    }

    func testRunsTakeTurns() async throws {
        let config = SandboxConfig(store: file(), conflictRetries: 0, queueRuns: true)
        let all = try (0..<10).map { _ in try Sandbox(config: config) }
        let underWay = Counter()
        for lua in all {
            try lua.registerAsync("price") { _ in
                XCTAssertEqual(underWay.add(1), 1, "one at a time")
                try await Task.sleep(nanoseconds: 2_000_000)
                underWay.add(-1)
                return 1
            }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for lua in all { group.addTask { try await lua.computeAsync("_home.n = (_home.n or 0) + price()") } }
            try await group.waitForAll()
        }
        XCTAssertEqual(try all[0].home().get("n"), 10)
    }
}
