import Foundation
import XCTest

import LuaCell

/// The programs of the README, which have to stand here as they stand there.
final class ReadmeTests: XCTestCase {
    func testReadme() async throws {
        let file = CorpusTests.root.appendingPathComponent("uniffi-bindings/swift/README.md")
        let blocks = try String(contentsOf: file, encoding: .utf8).components(separatedBy: "```")
        let programs = blocks.filter { $0.hasPrefix("swift\n") }
        XCTAssertEqual(programs.count, 3, "this test knows three programs")
        let here = try String(contentsOfFile: #filePath, encoding: .utf8)
        for line in programs.flatMap({ $0.components(separatedBy: "\n").dropFirst() }) where !line.isEmpty {
            XCTAssertTrue(here.contains(line), "this file lacks: \(line)")
        }

        let before = FileManager.default.currentDirectoryPath
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        XCTAssertTrue(FileManager.default.changeCurrentDirectoryPath(folder.path))
        defer {
            _ = FileManager.default.changeCurrentDirectoryPath(before)
            try? FileManager.default.removeItem(at: folder)
        }
        let lua = try Sandbox(limits: Limits(instructions: 1_000_000), store: "state.luacell")
        try lua.register("price") { args in args[0] == "tea" ? 3.5 : nil }
        let outcome = try lua.compute("_home.runs = (_home.runs or 0) + 1 return 2 * price('tea'), _home.runs")
        print(outcome.values)                                  // [7.0, 1]
        print(try lua.home().get("runs").int!)                 // 1
        try lua.compute("local order = ... return #order.items", ["items": ["tea", "cake"]])
        try await lua.computeAsync("return _home.runs")        // cancelling the task interrupts the script
        XCTAssertEqual(outcome.values, [7.0, 1])
        XCTAssertEqual(try waiting(), "Hello, Ada!")

        let asking = try Sandbox()
        try asking.registerAsync("ask") { args in
            try await Task.sleep(nanoseconds: 100_000_000)
            return LuaValue("Hello, " + args[0].string! + "!")
        }
        let source = "return table.concat(require('task').each({'Ada', 'Bob'}, ask), ' ')"
        print(try await asking.computeAsync(source).value)     // Hello, Ada! Hello, Bob!
        let answered = try await asking.computeAsync(source).value
        XCTAssertEqual(answered, "Hello, Ada! Hello, Bob!")
    }

    private func waiting() throws -> LuaValue {
        let lua = try Sandbox()
        try lua.declare("ask")
        let run = try lua.start("return 'Hello, ' .. ask('name') .. '!'")
        while run.isWaiting() {
            for request in try run.requests() { try run.answer(request.id, "Ada") }
            try run.resume()
        }
        print(try run.result().value)                          // Hello, Ada!
        return try run.result().value
    }
}
