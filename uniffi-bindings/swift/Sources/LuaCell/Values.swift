import Foundation

// Lua values from and to Swift's own.

extension LuaValue: ExpressibleByNilLiteral {
    public init(nilLiteral: ()) { self = .nil }
}

extension LuaValue: ExpressibleByBooleanLiteral {
    public init(booleanLiteral value: Bool) { self = .bool(value: value) }
}

extension LuaValue: ExpressibleByIntegerLiteral {
    public init(integerLiteral value: Int64) { self = .integer(value: value) }
}

extension LuaValue: ExpressibleByFloatLiteral {
    public init(floatLiteral value: Double) { self = .float(value: value) }
}

extension LuaValue: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self = .text(value: value) }
}

extension LuaValue: ExpressibleByStringInterpolation {}

extension LuaValue: ExpressibleByArrayLiteral {
    /// A sequence. `nil` leaves a gap.
    public init(arrayLiteral values: LuaValue...) { self.init(values) }
}

extension LuaValue: ExpressibleByDictionaryLiteral {
    /// A table with these entries; if several have the same key the last one counts, and the key `nil` or NaN is left
    /// out.
    public init(dictionaryLiteral entries: (LuaValue, LuaValue)...) {
        self = .table(table: LuaTable(entries: entries))
    }
}

extension LuaValue {
    /// A boolean.
    public init(_ value: Bool) { self = .bool(value: value) }
    /// An integer.
    public init(_ value: Int) { self = .integer(value: Int64(value)) }
    /// An integer.
    public init(_ value: Int64) { self = .integer(value: value) }
    /// A float.
    public init(_ value: Double) { self = .float(value: value) }
    /// A string.
    public init(_ value: String) { self = .text(value: value) }
    /// A string of any bytes.
    public init(_ value: Data) { self = .data(value: value) }
    /// A table by value.
    public init(_ value: LuaTable) { self = .table(table: value) }
    /// A stored table.
    public init(_ value: StoredTable) { self = .stored(table: value) }
    /// A function.
    public init(_ value: LuaFunction) { self = .function(function: value) }
    /// A sequence. `nil` leaves a gap.
    public init(_ values: [LuaValue]) { self = .table(table: LuaTable(values)) }

    /// Whether this is nil.
    public var isNil: Bool {
        if case .nil = self { return true }
        return false
    }

    /// The boolean, if it is one.
    public var bool: Bool? {
        if case .bool(let value) = self { return value }
        return nil
    }

    /// The integer, if it is one, or a float without fraction.
    public var int: Int64? {
        switch self {
        case .integer(let value): return value
        case .float(let value): return Int64(exactly: value)
        default: return nil
        }
    }

    /// The number as a double, if a double can hold it.
    public var double: Double? {
        switch self {
        case .integer(let value): return Double(exactly: value)
        case .float(let value): return value
        default: return nil
        }
    }

    /// The text, if it is a string of valid UTF-8.
    public var string: String? {
        if case .text(let value) = self { return value }
        return nil
    }

    /// The bytes, if it is a string.
    public var bytes: Data? {
        switch self {
        case .text(let value): return Data(value.utf8)
        case .data(let value): return value
        default: return nil
        }
    }

    /// The table, if it is one by value.
    public var table: LuaTable? {
        if case .table(let table) = self { return table }
        return nil
    }

    /// The view of a stored table, if it is one.
    public var stored: StoredTable? {
        if case .stored(let table) = self { return table }
        return nil
    }

    /// The function, if it is one.
    public var function: LuaFunction? {
        if case .function(let function) = self { return function }
        return nil
    }

    /// The values of a table by value at the keys 1 to n, if it is a sequence or empty.
    public var array: [LuaValue]? {
        guard let table, table.isSequence() || table.count() == 0 else { return nil }
        return table.sequence()
    }
}

extension LuaValue: Equatable {
    /// Tables are equal if their contents are; stored tables and functions if they are the same. As in Lua, NaN
    /// equals nothing; unlike in Lua, `1` and `1.0` differ.
    public static func == (a: LuaValue, b: LuaValue) -> Bool {
        switch (a, b) {
        case (.nil, .nil): return true
        case (.bool(let a), .bool(let b)): return a == b
        case (.integer(let a), .integer(let b)): return a == b
        case (.float(let a), .float(let b)): return a == b
        case (.text(let a), .text(let b)): return a == b
        case (.data(let a), .data(let b)): return a == b
        case (.text, .data), (.data, .text): return a.bytes == b.bytes
        case (.table(let a), .table(let b)): return a == b
        case (.stored(let a), .stored(let b)): return a == b
        case (.function(let a), .function(let b)): return a === b
        default: return false
        }
    }
}

extension LuaValue: CustomStringConvertible {
    /// A few words: tables are not written out.
    public var description: String {
        switch self {
        case .nil: return "nil"
        case .bool(let value): return String(value)
        case .integer(let value): return String(value)
        case .float(let value): return String(value)
        case .text(let value): return value
        case .data(let value): return "\(value.count) bytes"
        case .table(let table): return "table of \(table.count())"
        case .stored(let table): return "stored table \(table.id())"
        case .function: return "function"
        }
    }
}

extension NodeValue {
    fileprivate var isKey: Bool {
        switch self {
        case .plain(.nil): return false
        case .plain(.float(let value)): return !value.isNaN
        default: return true
        }
    }
}

extension LuaTable {
    /// A sequence. `nil` leaves a gap.
    public convenience init(_ values: [LuaValue]) {
        self.init(node: TableNode(items: values.map { .plain(value: $0) }, entries: []))
    }

    /// A table with these entries; if several have the same key the last one counts, and the key `nil` or NaN is left
    /// out.
    public convenience init(entries: [(LuaValue, LuaValue)]) {
        let all = entries.map { NodeEntry(key: .plain(value: $0.0), value: .plain(value: $0.1)) }
        self.init(node: TableNode(items: [], entries: all.filter { $0.key.isKey }))
    }

    private convenience init(node: TableNode) {
        // One node with valid keys always makes a table.
        let table = try! LuaTable.fromNodes(nodes: [node])
        self.init(unsafeFromHandle: table.uniffiCloneHandle())
    }

    /// The value under a key; nil if there is none.
    public subscript(key: LuaValue) -> LuaValue { return self.get(key: key) }
}

extension StoredTable {
    /// The value under a key; nil if there is none.
    public func get(_ key: LuaValue) throws -> LuaValue { try get(key: key) }

    /// Sets the value under a key; nil removes it.
    public func set(_ key: LuaValue, _ value: LuaValue) throws { try set(key: key, value: value) }
}

extension LuaFunction {
    /// Calls the function with these arguments; the first result.
    @discardableResult
    public func callAsFunction(_ args: LuaValue...) throws -> LuaValue { try call(args: args).value }
}

extension Outcome {
    /// The first returned value, or nil.
    public var value: LuaValue { values.first ?? .nil }

    /// What the script printed, with U+FFFD for what is not UTF-8.
    public var output: String { String(decoding: outputData, as: UTF8.self) }
}
