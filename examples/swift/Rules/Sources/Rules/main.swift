// A rules engine: orders go in, rules written in Lua decide, and counters are kept. A rule that never ends is stopped.
// The first argument is the file with the rules.

import Foundation
import LuaCell

let prices: [String: LuaValue] = ["tea": 3.5, "cake": 2.25]

let orders: [LuaValue] = [
    ["customer": "Ada", "box": 4, "items": [["article": "tea", "count": 2], ["article": "cake", "count": 1]]],
    ["customer": "Ada", "box": 4, "items": [["article": "moon", "count": 1]]],
    ["customer": "Grace", "box": 4, "items": [["article": "tea", "count": 10]]],
    ["customer": "Eve", "box": 0, "items": [["article": "tea", "count": 1]]],
    ["customer": "Ada", "box": 1, "items": [["article": "tea", "count": 1]]],
]

let rules = CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : "../../rules.lua"
let lua = try Sandbox(limits: Limits(instructions: 100_000))
try lua.register("price") { [prices] args in prices[args[0].string ?? ""] ?? nil }
try lua.compute(String(contentsOfFile: rules, encoding: .utf8), name: "=rules")
for (number, order) in orders.enumerated() {
    try lua.setInput(value: order)
    let answer: String
    do {
        answer = try lua.call("decide").value.string ?? ""
    } catch LuaError.InstructionLimit {
        answer = "stopped"
    } catch let error as LuaError where error.kind == .runtime {
        answer = "refused: \(error.message)"
    }
    print("order \(number + 1): \(answer)")
}
print(try lua.call("report").value.string ?? "")
