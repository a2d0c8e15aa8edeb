import Foundation

extension LuaError {
    /// Everything that is known.
    public var details: ErrorDetails {
        switch self {
        case .Syntax(let details), .Runtime(let details), .Memory(let details), .InstructionLimit(let details),
            .Timeout(let details), .Interrupted(let details), .OutputLimit(let details), .StoreLimit(let details),
            .HostCallLimit(let details), .HostFunction(let details), .Conversion(let details), .Store(let details),
            .Conflict(let details), .Trap(let details), .Busy(let details), .Closed(let details),
            .InvalidArgument(let details), .Internal(let details):
            return details
        }
    }

    /// The kind.
    public var kind: ErrorKind { details.kind }

    /// The message. For a Lua error it is what Lua would print, with the position but without the traceback.
    public var message: String { details.message }

    /// The line in the chunk, from 1, if it is a Lua error with a position.
    public var line: Int? { details.line.map(Int.init) }

    /// What the script printed before it failed.
    public var output: String { String(decoding: details.outputData, as: UTF8.self) }

    /// The error that the host's Swift code threw, if that caused this one.
    public var underlying: (any Error)? { (details.failure as? Thrown)?.error }
}

extension LuaError: LocalizedError, CustomStringConvertible {
    public var errorDescription: String? { message }
    public var description: String { message }
}

/// What code of the host has thrown.
final class Thrown: HostFailure {
    let error: any Error

    init(_ error: any Error) { self.error = error }

    func describe() throws -> String { String(describing: error) }
}

/// What the library is to know of whatever code of the host throws.
func hostError(_ error: any Error) -> HostError {
    switch error {
    case let error as HostError:
        return error
    case let error as LuaError:
        if let passing = error.details.passing {
            return .Passed(error: passing)
        }
        return .Thrown(reason: nil, description: error.message, failure: Thrown(error))
    default:
        return .Thrown(reason: chosenMessage(error), description: String(describing: error), failure: Thrown(error))
    }
}

/// The message that the error's type gives it. The system's errors name files, and other errors would be written out as
/// values, with all that is in them.
private func chosenMessage(_ error: any Error) -> String? {
    if error is CocoaError || error is POSIXError || type(of: error) is NSError.Type { return nil }
    if let chosen = (error as? any LocalizedError)?.errorDescription { return chosen }
    // Its type is asked, because every error itself can be cast: it becomes an `NSError`.
    return type(of: error) is any CustomStringConvertible.Type ? String(describing: error) : nil
}

extension HostError {
    /// Raises a value as Lua's `error(value)` does, if a host function throws it.
    public static func raise(_ value: LuaValue) -> HostError { .Raised(value: value) }
}
