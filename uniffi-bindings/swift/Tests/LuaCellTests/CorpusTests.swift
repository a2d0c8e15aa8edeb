import Foundation
import XCTest

import LuaCell

typealias JSON = [String: Any]

/// The conformance corpus that all languages share; its format is in core/tests/cases/README.md.
final class CorpusTests: XCTestCase {
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    func testCorpus() throws {
        let folder = Self.root.appendingPathComponent("core/tests/cases")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "json" }.sorted { $0.path < $1.path }
        var names = Set<String>()
        for file in files {
            let cases = try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as! [JSON]
            for test in cases {
                let name = test["name"] as! String
                XCTAssertTrue(names.insert(name).inserted, "two cases are named \(name)")
                do {
                    try run(test, "\(file.lastPathComponent): \(name)")
                } catch {
                    XCTFail("\(file.lastPathComponent): \(name): \(error)")
                }
            }
        }
        XCTAssertFalse(names.isEmpty, "no case was found in \(folder.path)")
        print("corpus: \(names.count) cases")
    }

    private func run(_ test: JSON, _ name: String) throws {
        known(test, ["name", "needs", "limits", "functions", "declare", "modules", "steps"], name)
        XCTAssertTrue(needs.isSuperset(of: test["needs"] as? [String] ?? []), name)
        var modules: [String: LuaValue]?
        if let sources = test["modules"] as? JSON {
            modules = sources.mapValues { LuaValue(bytes($0)) }
        }
        let lua = try Sandbox(config: SandboxConfig(limits: limits(test["limits"] as? JSON, name), modules: modules))
        for function in test["functions"] as? [String] ?? [] {
            try register(lua, function)
        }
        for function in test["declare"] as? [String] ?? [] {
            try lua.declare(function)
        }
        for (at, step) in (test["steps"] as! [JSON]).enumerated() {
            for _ in 0..<(step["times"] as? Int ?? 1) {
                try run(step, lua, "\(name): step \(at + 1)")
            }
        }
    }

    private func run(_ step: JSON, _ lua: Sandbox, _ at: String) throws {
        let kind = Set(step.keys).intersection(kinds).first!
        known(step, [kind, "args", "chunk", "times", "waits", "values", "output", "error"], at)
        let builder = Builder()
        let options = RunOptions(args: try builder.list(step["args"] as? [Any] ?? []), name: step["chunk"] as? String)
        var outcome: Outcome?
        do {
            switch kind {
            case _ where step["waits"] != nil:
                let text = step[kind] as! String
                let run = try kind == "call" ? lua.startCall(path: text, options: options) : lua.start(source: text, options: options)
                outcome = try drive(run, step["waits"] as! [JSON], at)
                if outcome == nil { return }
            case "source": outcome = try lua.compute(source: step[kind] as! String, options: options)
            case "source_hex": outcome = try lua.computeData(source: hex(step[kind] as! String), options: options)
            case "source_parts":
                let source = (step[kind] as! [Any]).reduce(into: Data()) { $0 += bytes($1) }
                outcome = try lua.computeData(source: source, options: options)
            case "call": outcome = try lua.call(path: step[kind] as! String, options: options)
            case "set_input": try lua.setInput(value: Builder().list([step[kind]!])[0])
            case "reopen": try lua.reset()
            default: try lua.gc()
            }
        } catch let error as LuaError {
            guard let expected = step["error"] as? JSON else {
                return XCTFail("\(at): \(error) \(error.details.traceback ?? "")")
            }
            check(error.details, expected, at)
            if let output = step["output"] {
                XCTAssertEqual(error.details.outputData, bytes(output), at)
            }
            return
        }
        XCTAssertNil(step["error"], "\(at): expected an error, got \(outcome?.values ?? [])")
        if let expected = step["values"] as? [Any] {
            let values = outcome?.values ?? []
            let matcher = Matcher()
            let fits = try expected.count == values.count && zip(expected, values).allSatisfy { try matcher.matches($0, $1) }
            XCTAssertTrue(fits, "\(at): expected \("\(expected)".prefix(500)), got \("\(values)".prefix(500))")
        }
        if let output = step["output"] {
            XCTAssertEqual(outcome?.outputData ?? Data(), bytes(output), at)
        }
    }

    /// Answers what a run waits for, each time that it waits; what it gave, or nothing if it is cancelled.
    private func drive(_ run: Run, _ waits: [JSON], _ at: String) throws -> Outcome? {
        for (number, wait) in waits.enumerated() {
            known(wait, ["requests", "answers"], at)
            let expected = wait["requests"] as! [JSON], requests = try run.requests()
            let fits = try run.isWaiting() && expected.count == requests.count
                && zip(expected, requests).allSatisfy { try matches($0, $1, at) }
            XCTAssertTrue(fits, "\(at): wait \(number + 1): expected \(expected), got \(requests)")
            guard let answers = wait["answers"] as? [JSON] else {
                try run.cancel()
                return nil
            }
            for answer in answers {
                known(answer, ["id", "values", "error"], at)
                let id = (answer["id"] as! NSNumber).int64Value
                if let error = answer["error"] as? String {
                    try run.fail(id, error)
                } else {
                    try run.answer(id: id, values: Builder().list(answer["values"] as! [Any]))
                }
            }
            try run.resume()
        }
        XCTAssertFalse(run.isWaiting(), "\(at): it waits once more")
        return try run.result()
    }

    private func matches(_ expected: JSON, _ request: Request, _ at: String) throws -> Bool {
        known(expected, ["id", "name", "args"], at)
        guard (expected["id"] as! NSNumber).int64Value == request.id, expected["name"] as? String == request.name else { return false }
        guard let args = expected["args"] as? [Any] else { return true }
        let matcher = Matcher()
        return try args.count == request.args.count && zip(args, request.args).allSatisfy { try matcher.matches($0, $1) }
    }

    private func check(_ found: ErrorDetails, _ expected: JSON, _ at: String) {
        known(expected, ["kind", "message", "message_contains", "line", "chunk", "traceback_contains"], at)
        let shown = "\(at): \(found.message)"
        if let kind = expected["kind"] as? String {
            XCTAssertEqual("\(found.kind)".lowercased(), kind.lowercased(), shown)
        }
        if let message = expected["message"] {
            XCTAssertEqual(found.messageData ?? Data(found.message.utf8), bytes(message), shown)
        }
        if let part = expected["message_contains"] as? String {
            XCTAssertTrue(found.message.contains(part), shown)
        }
        if let line = expected["line"] as? Int {
            XCTAssertEqual(found.line.map(Int.init), line, shown)
        }
        if let chunk = expected["chunk"] as? String {
            XCTAssertEqual(found.chunk, chunk, shown)
        }
        if let part = expected["traceback_contains"] as? String {
            XCTAssertTrue((found.traceback ?? "").contains(part), shown)
        }
    }

    private func register(_ lua: Sandbox, _ name: String) throws {
        try lua.registerMany(name) { args in
            switch name {
            case "host.echo": return args
            case "host.add": return [LuaValue(args[0].int! &+ args[1].int!)]
            case "host.fail": throw TestError(text: args[0].string!)
            case "host.raise": throw HostError.raise(args.first ?? .nil)
            case "host.call": return try args[0].function!.call(args: Array(args.dropFirst())).values
            default: throw TestError(text: "unknown function \(name)")
            }
        }
    }

    private func limits(_ json: JSON?, _ at: String) -> Limits? {
        guard let json else { return nil }
        known(json, [
            "memory_limit", "instruction_limit", "timeout", "output_limit", "store_limit", "store_entries", "host_call_limit", "source_limit",
        ], at)
        func number(_ name: String) -> Int64? { (json[name] as? NSNumber)?.int64Value }
        return Limits(
            memory: number("memory_limit"), instructions: number("instruction_limit"),
            timeout: number("timeout").map { Double($0) / 1000 }, output: number("output_limit"),
            storeBytes: number("store_limit"), storeEntries: number("store_entries"), hostCalls: number("host_call_limit"),
            source: number("source_limit"))
    }
}

struct TestError: LocalizedError, Equatable {
    let text: String
    var errorDescription: String? { text }
}

private let needs: Set<String> = [
    "args", "call", "input", "clock", "host_functions", "large", "limits", "modules", "reopen", "table_keys", "transactions",
    "waiting",
]
private let kinds: Set<String> = ["source", "source_hex", "source_parts", "call", "set_input", "reopen", "gc"]

private func known(_ json: JSON, _ names: Set<String>, _ at: String) {
    XCTAssertTrue(names.isSuperset(of: json.keys), "\(at): unknown field in \(json.keys)")
}

private func hex(_ text: String) -> Data {
    let digits = Array(text.utf8)
    return Data(stride(from: 0, to: digits.count, by: 2).map { UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)! })
}

private func bytes(_ json: Any) -> Data {
    if let text = json as? String { return Data(text.utf8) }
    let form = json as! JSON
    if let text = form["hex"] as? String { return hex(text) }
    let parts = form["repeat"] as! [Any]
    return Data(String(repeating: parts[0] as! String, count: parts[1] as! Int).utf8)
}

private func float(_ text: String) -> Double {
    switch text {
    case "inf": return .infinity
    case "-inf": return -.infinity
    case "nan": return .nan
    default: return Double(text)!
    }
}

/// A value that is no table.
private func plain(_ json: Any) -> LuaValue {
    if json is NSNull { return .nil }
    if let form = json as? JSON {
        if let text = form["int"] as? String { return .integer(value: Int64(text)!) }
        if let text = form["float"] as? String { return .float(value: float(text)) }
    } else if !(json is String) {
        return .bool(value: json as! Bool)
    }
    return .data(value: bytes(json))
}

private func isTable(_ json: Any) -> Bool {
    guard let form = json as? JSON else { return false }
    return !Set(form.keys).isDisjoint(with: ["array", "table", "ref", "deep"])
}

/// Makes values. A list of values is one table here, so that what they share is the same in all of them.
private final class Builder {
    private var nodes: [TableNode?] = []
    private var named: [Int: Int32] = [:]

    func list(_ list: [Any]) throws -> [LuaValue] {
        if !list.contains(where: isTable) { return list.map(plain) }
        nodes.append(nil)
        nodes[0] = TableNode(items: list.map(node), entries: [])
        let all = try LuaTable.fromNodes(nodes: nodes.map { $0! })
        return (0..<list.count).map { all[LuaValue($0 + 1)] }
    }

    private func node(_ json: Any) -> NodeValue {
        if !isTable(json) { return .plain(value: plain(json)) }
        let form = json as! JSON
        if let ref = form["ref"] as? Int { return .node(number: named[ref]!) }
        let number = nodes.count
        if let depth = form["deep"] as? Int {
            for level in 1...depth {
                nodes.append(TableNode(items: level == depth ? [] : [.node(number: Int32(number + level))], entries: []))
            }
            return .node(number: Int32(number))
        }
        nodes.append(nil)
        if let id = form["id"] as? Int { named[id] = Int32(number) }
        let items = (form["array"] as? [Any] ?? []).map(node)
        let entries = (form["table"] as? [[Any]] ?? []).map { NodeEntry(key: node($0[0]), value: node($0[1])) }
        nodes[number] = TableNode(items: items, entries: entries)
        return .node(number: Int32(number))
    }
}

private final class Matcher {
    private var seen: [Int: LuaValue] = [:]

    func matches(_ json: Any, _ value: LuaValue) throws -> Bool {
        guard let form = json as? JSON else { return same(plain(json), value) }
        XCTAssertEqual(form.keys.filter { $0 != "id" }.count, 1, "a value has one form: \(form)")
        if form["any"] != nil { return true }
        if form["function"] != nil { return value.function != nil }
        if let inner = form["stored"] {
            guard let stored = value.stored else { return false }
            return try matches(inner, .table(table: stored.toTable()))
        }
        if let ref = form["ref"] as? Int { return identical(seen[ref]!, value) }
        if let id = form["id"] as? Int { seen[id] = value }
        if let depth = form["deep"] as? Int { return isDeep(depth, value) }
        if let array = form["array"] as? [Any] {
            guard let table = value.table else { return false }
            let wanted = array.enumerated().filter { !($0.element is NSNull) }
            return try Int(table.count()) == wanted.count
                && wanted.allSatisfy { try matches($0.element, table[LuaValue($0.offset + 1)]) }
        }
        if let expected = form["table"] as? [[Any]] {
            guard let found = value.table?.entries(), found.count == expected.count else { return false }
            return try expected.allSatisfy { pair in
                try found.contains { try matches(pair[0], $0.key) && matches(pair[1], $0.value) }
            }
        }
        return same(plain(json), value)
    }

    private func identical(_ a: LuaValue, _ b: LuaValue) -> Bool {
        if let a = a.table, let b = b.table { return a.isSame(other: b) }
        if let a = a.stored, let b = b.stored { return a.id() == b.id() }
        return false
    }

    private func isDeep(_ depth: Int, _ value: LuaValue) -> Bool {
        guard let nodes = value.table?.nodes(), nodes.count == depth else { return false }
        return nodes.enumerated().allSatisfy { at, node in
            guard node.entries.isEmpty else { return false }
            if at == depth - 1 { return node.items.isEmpty }
            if node.items.count == 1, case .node(let next) = node.items[0] { return Int(next) == at + 1 }
            return false
        }
    }

    /// Equal bit by bit, except that every NaN equals every other.
    private func same(_ expected: LuaValue, _ value: LuaValue) -> Bool {
        if case .float(let a) = expected, case .float(let b) = value {
            return a.bitPattern == b.bitPattern || (a.isNaN && b.isNaN)
        }
        return expected == value
    }
}
