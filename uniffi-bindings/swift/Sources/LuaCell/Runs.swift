import Foundation

// Runs that wait for whoever started them.

extension Sandbox {
    /// Makes the name a function whose calls become requests of the run: whoever starts the run answers them. In a run
    /// that was not started, calling it is an error. Dots put it into tables; `unregister` removes it.
    ///
    /// - Throws: `LuaError.InvalidArgument` for a name that is not valid.
    public func declare(_ name: String) throws { try declare(name: name) }

    /// Starts a run of Lua source on this thread. It is done when this returns, or waits for answers to calls of declared
    /// functions; it is cancelled when nobody refers to it any more. The time that it spends waiting does not count
    /// towards its timeout.
    ///
    /// - Parameter durable: a name in the sandbox's store, under which the run survives the process: see
    ///   `RunOptions.durable`.
    /// - Throws: `LuaError` if the run could not begin. What the script fails with, `result` throws.
    public func start(
        _ source: String, _ args: LuaValue..., name: String? = nil, limits: Limits? = nil, durable: String? = nil
    ) throws -> Run {
        try start(source: source, options: RunOptions(args: args, name: name, limits: limits, durable: durable))
    }

    /// Like `start`, for a global Lua function. Dots reach into tables: `game.player.move`.
    ///
    /// - Throws: as `start`.
    public func startCall(_ path: String, _ args: LuaValue..., limits: Limits? = nil, durable: String? = nil) throws -> Run {
        try startCall(path: path, options: RunOptions(args: args, limits: limits, durable: durable))
    }
}

extension Run {
    /// Answers a request with what the function returns. The script gets it when the run is resumed.
    ///
    /// - Throws: `LuaError.InvalidArgument` if no such request is open.
    public func answer(_ id: Int64, _ values: LuaValue...) throws { try answer(id: id, values: values) }

    /// Answers a request with an error, as if a host function had thrown it.
    ///
    /// - Throws: `LuaError.InvalidArgument` if no such request is open.
    public func fail(_ id: Int64, _ error: any Error) throws { try fail(id: id, error: hostError(error)) }

    /// Answers a request with an error that has this message.
    ///
    /// - Throws: `LuaError.InvalidArgument` if no such request is open.
    public func fail(_ id: Int64, _ message: String) throws {
        try fail(id: id, error: .Failed(reason: message, failure: nil))
    }
}
