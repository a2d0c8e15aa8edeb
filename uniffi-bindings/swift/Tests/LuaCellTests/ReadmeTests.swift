import Foundation
import XCTest

import LuaCell

/// The program of the README, which has to stand here as it stands there.
final class ReadmeTests: XCTestCase {
    func testReadme() async throws {
        let file = CorpusTests.root.appendingPathComponent("uniffi-bindings/swift/README.md")
        let blocks = try String(contentsOf: file, encoding: .utf8).components(separatedBy: "```")
        let programs = blocks.filter { $0.hasPrefix("swift\n") }
        XCTAssertEqual(programs.count, 1, "this test knows one program")
        let program = try XCTUnwrap(programs.first)
        let here = try String(contentsOfFile: #filePath, encoding: .utf8)
        for line in program.components(separatedBy: "\n").dropFirst() where !line.isEmpty {
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
    }
}
