import Foundation

/// A host function that is a closure.
private final class Closure: HostFunction {
    let body: @Sendable ([LuaValue]) throws -> [LuaValue]

    init(_ body: @escaping @Sendable ([LuaValue]) throws -> [LuaValue]) { self.body = body }

    func invoke(args: [LuaValue]) throws -> [LuaValue] { try body(args) }
}

private final class PrintClosure: Printer {
    let body: @Sendable (String) -> Void

    init(_ body: @escaping @Sendable (String) -> Void) { self.body = body }

    func print(text: Data) throws { body(String(decoding: text, as: UTF8.self)) }
}

/// Receives printed text immediately, on the thread that runs the script; it can't use the sandbox.
public func printer(_ body: @escaping @Sendable (String) -> Void) -> Printer { PrintClosure(body) }

extension Sandbox {
    /// A new sandbox of the default engine.
    ///
    /// - Throws: `LuaError.Store` if the store can't be opened, `LuaError.Memory` if there is not enough memory for
    ///   another one.
    public convenience init(limits: Limits, store: String? = nil) throws {
        try self.init(config: SandboxConfig(limits: limits, store: store))
    }

    /// Runs Lua source on this thread.
    ///
    /// - Throws: `LuaError`, whatever the script fails with.
    @discardableResult
    public func compute(_ source: String, _ args: LuaValue..., name: String? = nil, limits: Limits? = nil) throws -> Outcome {
        try compute(source: source, options: options(args, name, limits))
    }

    /// Calls a global Lua function on this thread. Dots reach into tables: `game.player.move`.
    ///
    /// - Throws: `LuaError`, whatever the function fails with.
    @discardableResult
    public func call(_ path: String, _ args: LuaValue..., limits: Limits? = nil) throws -> Outcome {
        try call(path: path, options: options(args, nil, limits))
    }

    /// Runs Lua source on another thread, which is free while the run waits for closures that were registered with
    /// `registerAsync`. Cancelling the task ends the run.
    ///
    /// - Throws: `LuaError`, whatever the script fails with; `CancellationError` if the task was cancelled.
    @discardableResult
    public func computeAsync(_ source: String, _ args: LuaValue..., name: String? = nil, limits: Limits? = nil) async throws -> Outcome {
        let options = options(args, name, limits)
        return try await driving { canceller, tasks in
            try await self.computeAsync(source: source, options: options, canceller: canceller, tasks: tasks)
        }
    }

    /// Calls a global Lua function on another thread, as `computeAsync` runs source. Cancelling the task ends the run.
    ///
    /// - Throws: `LuaError`, whatever the function fails with; `CancellationError` if the task was cancelled.
    @discardableResult
    public func callAsync(_ path: String, _ args: LuaValue..., limits: Limits? = nil) async throws -> Outcome {
        let options = options(args, nil, limits)
        return try await driving { canceller, tasks in
            try await self.callAsync(path: path, options: options, canceller: canceller, tasks: tasks)
        }
    }

    /// Makes a closure callable from Lua, as the global of that name; dots put it into tables.
    ///
    /// It is called on the thread that runs the script, and may use the sandbox that calls it. What it throws becomes a
    /// Lua error with the text of a `LocalizedError` or `CustomStringConvertible`, or without one, and is the
    /// `underlying` error of the run if the script does not catch it. One that is `repeatable`, because it only looks
    /// something up, does not keep a run from being repeated after a conflict.
    ///
    /// - Throws: `LuaError.InvalidArgument` for a name that is not valid.
    public func register(_ name: String, repeatable: Bool = false, _ body: @escaping @Sendable ([LuaValue]) throws -> LuaValue) throws {
        try register(name: name, function: Closure { [try body($0)] }, repeatable: repeatable)
    }

    /// Like `register`, for a closure with any number of results.
    public func registerMany(_ name: String, repeatable: Bool = false, _ body: @escaping @Sendable ([LuaValue]) throws -> [LuaValue]) throws {
        try register(name: name, function: Closure(body), repeatable: repeatable)
    }

    private func options(_ args: [LuaValue], _ name: String?, _ limits: Limits?) -> RunOptions? {
        if args.isEmpty && name == nil && limits == nil { return nil }
        return RunOptions(args: args, name: name, limits: limits)
    }
}
