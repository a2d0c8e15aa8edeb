// What `cargo xtask bench --mobile` asks for: on each line a name and nanoseconds.

import Foundation
import LuaCell

func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) }

/// The median time of one of `times` calls.
func median(_ times: Int, _ action: () throws -> Void) rethrows -> Double {
    var rounds: [Double] = []
    for _ in 0..<11 {
        let start = now()
        for _ in 0..<times { try action() }
        rounds.append((now() - start) / Double(times))
    }
    return rounds.sorted()[5]
}

func figure(_ name: String, _ nanoseconds: Double) { print("\(name)\t\(nanoseconds)") }

let start = now()
let lua = try Sandbox()
guard try lua.compute("return 1+1").value == 2 else { fatalError("1+1 is not 2") }
figure("first", now() - start)
figure("compute", try median(20_000) { _ = try lua.compute("return 1+1") })
try lua.register("add") { args in .integer(value: (args[0].int ?? 0) + (args[1].int ?? 0)) }
figure("hostcall", try median(20) { _ = try lua.compute("local add = add for i = 1, 1000 do add(i, 2) end") } / 1000)
figure("create", try median(2_000) { _ = try Sandbox() })
