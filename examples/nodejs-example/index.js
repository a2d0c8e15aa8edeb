// A guided tour: everything that a host of lua.wasm does, in the order in which one meets it.
//
//   node index.js [path of lua.wasm]
//   node index.js --time FILE     time one Lua file instead; prints nanoseconds, a tab, its result

import { readFileSync } from "node:fs";
import { argv, env, hrtime } from "node:process";
import { fileURLToPath } from "node:url";

import { Tables } from "./src/tables.js";
import { decode, decodeKey, encode, show } from "./src/values.js";
import { LuaError, LuaVm } from "./src/vm.js";

const defaultPath = fileURLToPath(new URL("../../core/guest/lua.wasm", import.meta.url));

function tour(module) {
  const tables = new Tables();
  const vm = new LuaVm(module, { tables });

  title("Arithmetic");
  run(vm, "return 1 + 1");
  run(vm, "return 7 // 2, 7 / 2, 2^10, 3 | 4");

  title("Strings");
  run(vm, "return ('lua'):upper() .. '!', #'four'");
  run(vm, "return 'any bytes: \\0\\255'");

  title("Every kind of value");
  run(vm, "return nil, true, 42, 2.5, 'text'");
  run(vm, "return string.format, function() end");
  run(vm, "return ext.table()");

  title("Output");
  run(vm, "print('hello', 'from Lua') print(1, 2.0) return 'done'");

  title("Errors");
  run(vm, "return 1 +");
  run(vm, "error('out of stock')");
  run(vm, "return ('x'):rep(100000)");
  run(vm, "return 'still working'");

  title("Data in and out");
  tables.set(vm.ioTableId, "input", encode(["Ada"]));
  run(vm, "_io.output = 'Hello, ' .. _io.input");
  console.log(`_io.output is ${show(decode(tables.get(vm.ioTableId, "output"))[0])}`);

  title("Memory");
  const before = vm.memorySize();
  run(vm, "local t = {} for i = 1, 300000 do t[i] = i end return #t");
  vm.collectGarbage();
  const stats = vm.memoryStats();
  console.log(`the I/O buffer has ${stats.bufferSize} bytes`);
  console.log(`Lua's use is within bounds: ${stats.used > 0 && stats.used < vm.memorySize()}`);
  console.log(`the pages are the memory's: ${stats.pages * 65536 === vm.memorySize()}`);
  console.log(`the memory has grown: ${vm.memorySize() > before}`);

  title("A table that outlives its VM");
  run(vm, "_home.visits = 1 _home.log = {'first'}");
  const second = new LuaVm(module, { tables, nextTableId: vm.nextTableId() });
  run(second, "_home.visits = _home.visits + 1 table.insert(_home.log, 'second') return _home.visits");
  run(second, "_home.more = {} return _home.log, _home.more");
  showTable(tables, second.homeTableId);

  title("Revision 2: tables by value, arguments, calls");
  const newer = new LuaVm(module, { revision: 2 });
  run(newer, "local t = {10, 20, {deep = true}} t.me = t return t");
  run(newer, "function greet(name) return 'Hello, ' .. name end");
  console.log(`greet("Grace") gives ${show(newer.call("greet", ["Grace"]).values[0])}`);
  console.log(`a long string has ${newer.compute("return ('x'):rep(100000)").values[0].length} bytes`);

  title("Revision 3: a run that waits");
  const host = new LuaVm(module, { revision: 3 });
  host.declare("ask");
  const source = "local task = require 'task' return task.all(function() return ask('tea?') end, function() return ask('cake?') end)";
  console.log(`> ${source}`);
  let result = host.start(source);
  while (result === null) {
    // Here a program does something else until it has an answer; nothing of the run is on any stack.
    for (const { id, name, args } of host.requests) {
      console.log(`request ${id}: ${name}(${args.map((value) => show(value)).join(", ")})`);
      host.answer(id, ["yes"]);
    }
    result = host.resume();
  }
  console.log(result.values.map((value) => show(value)).join(", "));
}

function title(text) {
  console.log(`\n== ${text}`);
}

/** Runs source and prints everything that comes of it. */
function run(vm, source) {
  console.log(`> ${source}`);
  try {
    const { output, values } = vm.compute(source);
    for (const line of output.toString().split("\n").slice(0, -1)) console.log(`| ${line}`);
    if (values.length > 0) console.log(values.map((value) => show(value)).join(", "));
  } catch (error) {
    if (!(error instanceof LuaError)) throw error;
    console.log(`error: ${error.message}`);
  }
}

/** Prints a stored table as the host sees it, sorted: the order of its keys is the table map's own. */
function showTable(tables, id) {
  console.log(`table ${id} has ${tables.size(id)} entries:`);
  for (const key of (tables.keys(id) ?? []).sort())
    console.log(`  [${show(decodeKey(key))}] = ${show(decode(tables.get(id, key))[0])}`);
}

function time(module, file) {
  const vm = new LuaVm(module, { revision: 2 });
  const source = readFileSync(file);
  const start = hrtime.bigint();
  const { values } = vm.compute(source);
  const elapsed = hrtime.bigint() - start;
  console.log(`${elapsed}\t${Buffer.isBuffer(values[0]) ? values[0] : show(values[0] ?? null)}`);
}

const load = (path) => new WebAssembly.Module(readFileSync(path));
try {
  const fallback = env.LUA_WASM || defaultPath;
  const args = argv.slice(2);
  if (args.length === 2 && args[0] === "--time") time(load(fallback), args[1]);
  else if (args.length <= 1 && !args[0]?.startsWith("-")) tour(load(args[0] ?? fallback));
  else throw new Error("usage: node index.js [path of lua.wasm] | node index.js --time FILE");
} catch (error) {
  console.error(`nodejs-example: ${error.message}`);
  process.exitCode = 1;
}
