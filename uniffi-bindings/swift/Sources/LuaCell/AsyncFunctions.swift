import Foundation

// Host functions that are async closures.

extension Sandbox {
    /// Like `register`, for an async closure.
    ///
    /// In `computeAsync` and `callAsync` it is a task of its own, with the priority and the task-local values of the one
    /// that waits for the run. No thread is held while it waits, and other tasks of the script (`require "task"`) go on.
    /// It is cancelled when the script does not need it any more, because the run was cancelled, has ended or has reached
    /// its timeout, which goes on while it waits. The run returns when its closures have ended. Meanwhile they can't use
    /// the sandbox, which gives `LuaError.Busy`.
    ///
    /// In other runs (`compute`, `start`) the thread of the run waits for it: not from within tasks, whose threads are
    /// few.
    ///
    /// - Parameter repeatable: whether it may be called again when a run is repeated after a conflict, because it only
    ///   looks something up.
    /// - Throws: `LuaError.InvalidArgument` for a name that is not valid.
    public func registerAsync(
        _ name: String, repeatable: Bool = false, _ body: @escaping @Sendable ([LuaValue]) async throws -> LuaValue
    ) throws {
        try registerWaiting(name: name, function: AsyncClosure { [try await body($0)] }, repeatable: repeatable)
    }

    /// Like `registerAsync`, for a closure with any number of results.
    public func registerManyAsync(
        _ name: String, repeatable: Bool = false, _ body: @escaping @Sendable ([LuaValue]) async throws -> [LuaValue]
    ) throws {
        try registerWaiting(name: name, function: AsyncClosure(body), repeatable: repeatable)
    }
}

private final class AsyncClosure: AsyncHostFunction {
    let body: @Sendable ([LuaValue]) async throws -> [LuaValue]

    init(_ body: @escaping @Sendable ([LuaValue]) async throws -> [LuaValue]) { self.body = body }

    func begin(args: [LuaValue], call: HostCall) throws -> HostTask {
        let begun = ClosureTask(self, args, call)
        begun.start()
        return begun
    }
}

/// One call of a closure.
private final class ClosureTask: HostTask, @unchecked Sendable {
    private let closure: AsyncClosure
    private let args: [LuaValue]
    private let call: HostCall
    private let lock = NSLock()
    private var task: Task<Void, Never>?
    private var isCancelled = false
    private var isDone = false

    init(_ closure: AsyncClosure, _ args: [LuaValue], _ call: HostCall) {
        (self.closure, self.args, self.call) = (closure, args, call)
    }

    /// It belongs to the present task, if there is one.
    func start() {
        lock.withLock {
            if isCancelled { return }
            task = Task {
                do {
                    call.answer(values: try await closure.body(args))
                } catch {
                    call.fail(error: hostError(error))
                }
                lock.withLock { isDone = true }
            }
        }
    }

    func cancel() {
        lock.withLock {
            isCancelled = true
            task?.cancel()
        }
    }

    var hasEnded: Bool { lock.withLock { isDone } }

    func end() async { await lock.withLock { task }?.value }
}

/// Those of one run, which the task begins that waits for the run.
private final class RunTasks: HostTasks {
    private let feed: AsyncStream<ClosureTask>.Continuation

    init(_ feed: AsyncStream<ClosureTask>.Continuation) { self.feed = feed }

    func begin(function: AsyncHostFunction, args: [LuaValue], call: HostCall) throws -> HostTask {
        guard let closure = function as? AsyncClosure else { return try function.begin(args: args, call: call) }
        let task = ClosureTask(closure, args, call)
        feed.yield(task)
        return task
    }
}

/// Waits for a run, and lets its closures be tasks of the present one. Passes on that this one is cancelled.
func driving(_ run: @escaping @Sendable (Canceller, HostTasks) async throws -> Outcome) async throws -> Outcome {
    let canceller = Canceller()
    let (calls, feed) = AsyncStream.makeStream(of: ClosureTask.self)
    do {
        return try await withTaskCancellationHandler {
            async let outcome = {
                defer { feed.finish() }
                return try await run(canceller, RunTasks(feed))
            }()
            var begun: [ClosureTask] = []
            var many = 64
            for await call in calls {
                call.start()
                begun.append(call)
                if begun.count >= many {
                    begun.removeAll(where: \.hasEnded)
                    many = 64 + 2 * begun.count
                }
            }
            let result: Result<Outcome, any Error>
            do { result = .success(try await outcome) } catch { result = .failure(error) }
            for call in begun { await call.end() }
            return try result.get()
        } onCancel: {
            canceller.cancel()
        }
    } catch LuaError.Interrupted where canceller.isCancelled() {
        throw CancellationError()
    }
}
