import Foundation
import XCTest

import LuaCell

/// Runs that wait for whoever started them.
final class WaitingTests: XCTestCase {
    private func assertThrows(_ kind: ErrorKind, _ line: UInt = #line, _ body: () throws -> Void) {
        XCTAssertThrowsError(try body(), line: line) { error in
            XCTAssertEqual((error as? LuaError)?.kind, kind, "\(error)", line: line)
        }
    }

    private func asking(_ config: SandboxConfig? = nil) throws -> Sandbox {
        let lua = try Sandbox(config: config)
        try lua.declare("ask")
        return lua
    }

    private func open(_ run: Run) throws -> [String] {
        try run.requests().map { "\($0.id):\($0.name):\($0.args)" }
    }

    func testAnswers() throws {
        let lua = try asking()
        let run = try lua.start("print('a') local a, b = ask(..., 7) print('b') return a .. #b, ask()", "q", name: "=here")
        XCTAssertTrue(run.isWaiting())
        XCTAssertNil(run.name())
        XCTAssertEqual(try open(run), ["1:ask:[q, 7]"])
        assertThrows(.busy) { _ = try run.result() }
        assertThrows(.invalidArgument) { try run.answer(2) }
        try run.answer(1, "yes", [1, 2])
        assertThrows(.invalidArgument) { try run.answer(1) }
        try run.resume()
        XCTAssertEqual(try open(run), ["2:ask:[]"])
        try run.answer(2)
        try run.resume()
        XCTAssertFalse(run.isWaiting())
        for _ in 0..<2 { XCTAssertEqual(try run.result().values, ["yes2"]) }
        XCTAssertEqual(try run.result().output, "a\nb\n")
        XCTAssertEqual(try open(run), [])
        assertThrows(.invalidArgument) { try run.resume() }
        try run.renew()
        assertThrows(.hostFunction) { try lua.compute("ask()") }
        XCTAssertTrue(try lua.unregister(name: "ask"))
    }

    func testErrors() throws {
        let lua = try asking()
        XCTAssertThrowsError(try lua.start("error('no')", name: "=here").result()) { error in
            XCTAssertEqual((error as? LuaError)?.message, "here:1: no")
        }
        let run = try lua.start("return (select(2, pcall(ask))), (select(2, pcall(ask))), select(2, pcall(ask)).code")
        try run.fail(1, "no such thing")
        try run.resume()
        try run.fail(2, TestError(text: "no such order"))
        try run.resume()
        try run.fail(3, HostError.raise(["code": 7]))
        try run.resume()
        XCTAssertEqual(try run.result().values, ["no such thing", "no such order", 7])
        let uncaught = try lua.start("ask()")
        try uncaught.fail(1, TestError(text: "the cause"))
        try uncaught.resume()
        XCTAssertThrowsError(try uncaught.result()) { error in
            XCTAssertEqual((error as? LuaError)?.kind, .hostFunction)
            XCTAssertEqual((error as? LuaError)?.underlying as? TestError, TestError(text: "the cause"))
        }
        assertThrows(.invalidArgument) { try lua.declare("not a name") }
        assertThrows(.invalidArgument) { _ = try lua.compute(source: "return 1", options: RunOptions(durable: "x")) }
    }

    func testEnds() throws {
        let lua = try asking()
        let run = try lua.start("_home.x = 1 ask()")
        assertThrows(.busy) { _ = try lua.start("return 1") }
        try run.cancel()
        XCTAssertFalse(run.isWaiting())
        assertThrows(.closed) { _ = try run.result() }
        do {
            let left = try lua.start("_home.x = 1 ask()")
            XCTAssertTrue(left.isWaiting())
        }
        XCTAssertEqual(try lua.compute("return _home.x").value, .nil)
        let canceller = Canceller()
        let cancelled = try lua.start(source: "ask() while true do end", canceller: canceller)
        try cancelled.answer(1)
        canceller.cancel()
        try cancelled.resume()
        assertThrows(.interrupted) { _ = try cancelled.result() }
        let last = try lua.start("ask()")
        lua.shutDown()
        assertThrows(.closed) { try last.answer(1) }
        assertThrows(.closed) { _ = try lua.start("return 1") }
    }

    func testTasksAndThreads() async throws {
        let lua = try asking()
        try lua.compute("function both(a, b) return require('task').all(function() return ask(a) end, function() return ask(b) end) end")
        let run = try lua.startCall("both", "a", "b")
        XCTAssertEqual(try open(run), ["1:ask:[a]", "2:ask:[b]"])
        try await Task.detached {
            try run.answer(2, "B")
            try run.answer(1, "A")
            try run.resume()
        }.value
        XCTAssertEqual(try run.result().values, ["A", "B"])
    }

    func testSnapshots() throws {
        let lua = try asking()
        let run = try lua.start("local n = 'x' return n .. ask('q')")
        let there = try Sandbox.fromSnapshot(snapshot: lua.snapshot())
        try there.declare("ask")
        let restored = try XCTUnwrap(there.waitingRun())
        XCTAssertNil(try there.waitingRun())
        XCTAssertEqual(try open(restored), ["1:ask:[q]"])
        try restored.answer(1, "1")
        try restored.resume()
        XCTAssertEqual(try restored.result().value, "x1")
        XCTAssertTrue(run.isWaiting())
    }

    func testDurable() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: file) }
        let config = SandboxConfig(store: file.path, claimTerm: 60)
        do {
            let lua = try asking(config)
            let run = try lua.start("local a = ask('first') _home.a = a return a .. ask('second')", durable: "order-17")
            XCTAssertEqual(run.name(), "order-17")
            try run.answer(1, "one")
            try run.resume()
            XCTAssertEqual(try open(run), ["2:ask:[second]"])
            try run.renew()
        }
        let lua = try asking(config)
        XCTAssertEqual(try lua.home().get("a"), "one")
        XCTAssertEqual(try lua.pendingRuns(), [PendingRun(name: "order-17", claimed: nil)])
        assertThrows(.invalidArgument) { _ = try lua.resume(name: "none") }
        let run = try lua.resume(name: "order-17")
        XCTAssertEqual(try open(run), ["2:ask:[second]"])
        do {
            let other = try Sandbox(config: config)
            let claimed = try XCTUnwrap(other.pendingRuns().first?.claimed)
            XCTAssertTrue(claimed > 0 && claimed <= 60)
            assertThrows(.busy) { _ = try other.resume(name: "order-17") }
            assertThrows(.busy) { _ = try other.dropPendingRun(name: "order-17") }
        }
        try run.answer(2, "two")
        try run.resume()
        XCTAssertEqual(try run.result().value, "onetwo")
        XCTAssertEqual(try lua.pendingRuns(), [])
        XCTAssertFalse(try lua.dropPendingRun(name: "order-17"))
        do { _ = try lua.start("ask()", durable: "order-18") }
        XCTAssertTrue(try lua.dropPendingRun(name: "order-18"))
        try lua.start("ask()", durable: "order-18").cancel()
        XCTAssertEqual(try lua.pendingRuns(), [])
    }
}
