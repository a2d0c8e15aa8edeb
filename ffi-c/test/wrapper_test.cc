/* luacell.hpp. */
#include <filesystem>
#include <luacell.hpp>
#include <new>
#include <stdexcept>
#include <thread>

extern "C" {
#include "tap.h"
}

using luacell::Sandbox;
using luacell::Value;
using luacell::Values;

/* The status of what is thrown; LUACELL_OK when nothing is. */
template <typename F>
static luacell_status status_of(F &&body) {
  try {
    body();
  } catch (const luacell::Error &error) {
    return error.status();
  }
  return LUACELL_OK;
}

static void values() {
  test_begin("C++: values in and out");
  Sandbox sandbox;
  CHECK(sandbox.compute("return 1 + 1").value().as<int>() == 2);
  Values args{1, 2.5, true, nullptr, std::string("a\0b", 3), "text", Value::array({1, "two"})};
  auto outcome = sandbox.compute("print('hi') return ...", args, "=args");
  CHECK(outcome.values() == args);
  CHECK(outcome.output() == "hi\n");
  CHECK(outcome.metrics().instructions > 0);
  CHECK(outcome.values()[4].as<std::string_view>().size() == 3);
  Value table = Value::table(), copy = table;
  table.set("k", 7);
  CHECK(table.at("k").as<int64_t>() == 7 && table.count() == 1 && copy.count() == 0);
  for (const auto &[key, value] : table.entries()) CHECK(key.as<std::string>() == "k" && value == Value(7));
  CHECK(status_of([&] { (void)table.as<int>(); }) == LUACELL_CONVERSION);
  sandbox.compute("function add(a, b) return a + b end");
  CHECK(sandbox.call("add", {1, 2}).value().as<int>() == 3);
  CHECK(sandbox.compute("return add").value().call({3, 4}).value() == Value(7));
  sandbox.set_input(table);
  sandbox.compute("_io.output = _io.input.k _home.k = 1");
  CHECK(sandbox.output() == Value(7) && sandbox.home().at("k") == Value(1));
}

static void errors() {
  test_begin("C++: errors are exceptions");
  Sandbox sandbox;
  try {
    sandbox.compute("\nerror('no')", {}, "=demo");
    CHECK(false, "nothing was thrown");
  } catch (const luacell::Error &error) {
    CHECK(error.status() == LUACELL_RUNTIME && error.message() == "demo:2: no" && error.line() == 2 && error.chunk() == "demo");
    CHECK(std::string(error.what()) == "demo:2: no");
  }
  luacell::Limits limits;
  limits.instruction_limit = 10000;
  CHECK(status_of([&] { sandbox.compute("while true do end", {}, "", limits); }) == LUACELL_INSTRUCTION_LIMIT);
  luacell::Config config;
  config.limits.output_limit = 10;
  Sandbox small(config);
  CHECK(status_of([&] { small.compute("print(('x'):rep(100))"); }) == LUACELL_OUTPUT_LIMIT);
  sandbox.close();
  CHECK(status_of([&] { sandbox.compute(""); }) == LUACELL_CLOSED);
  CHECK(status_of([] { luacell::Store::file("/no/such/folder/x"); }) == LUACELL_STORE);
}

static void host_functions() {
  test_begin("C++: host functions are callables, and end with the sandbox");
  auto alive = std::make_shared<int>(0);
  {
    Sandbox sandbox;
    sandbox.add("count", [alive](Values args) { return Values{++*alive, static_cast<int64_t>(args.size())}; });
    sandbox.add("fail", [](Values) -> Values { throw std::runtime_error("no luck"); });
    sandbox.add("odd", [](Values) -> Values { throw 7; });
    CHECK(sandbox.compute("return count('a', 'b')").values() == Values({1, 2}));
    CHECK(sandbox.compute("return select(2, pcall(fail))").value() == Value("no luck"));
    CHECK(status_of([&] { sandbox.compute("odd()"); }) == LUACELL_HOST_FUNCTION);
    CHECK(alive.use_count() == 2);
    CHECK(sandbox.remove("odd") && !sandbox.remove("odd"));
  }
  CHECK(alive.use_count() == 1);
  std::string printed;
  luacell::Config config;
  config.print = [&](std::string_view text) { printed += text; };
  Sandbox(config).compute("print('a') print('b')");
  CHECK(printed == "a\nb\n");
  config.print = [](std::string_view) { throw std::runtime_error("in print"); };
  Sandbox failing(config);
  std::string what;
  try {
    failing.compute("while true do print('a') end");
  } catch (const std::runtime_error &error) {
    what = error.what();
  }
  CHECK(what == "in print");
  CHECK(failing.compute("return 1 + 1").value().as<int>() == 2);
}

/* Throws the n-th of several exceptions; false when there are no more. */
static bool throw_one(int n) {
  struct Own : std::exception {
    const char *what() const noexcept override { return "no such article"; }
  };
  switch (n) {
    case 0: throw std::runtime_error("no such article");
    case 1: throw std::invalid_argument("no such article");
    case 2: throw Own();
    case 3: throw std::filesystem::filesystem_error("can't open", "/etc/secret", std::make_error_code(std::errc::permission_denied));
    case 4: throw std::system_error(2, std::generic_category(), "/etc/secret");
    case 5: throw std::bad_alloc();
    case 6: throw std::bad_function_call();
    case 7: throw std::runtime_error("");
    case 8: throw std::string("secret");
    default: return false;
  }
}

static void exceptions() {
  test_begin("C++: a script sees messages that somebody chose, the host gets the exception");
  Sandbox sandbox;
  int which = 0, n = 0;
  sandbox.add("f", [&](Values) { return Values{throw_one(which)}; });
  sandbox.add("count", [](Values args) { return Values{static_cast<int64_t>(args.size())}; });
  for (; which < 9; which++) {
    Value seen = sandbox.compute("return select(2, pcall(f))").value();
    CHECK(seen == Value(which < 3 ? "no such article" : "the host function failed"), "%d: %s", which, seen.as<std::string>().c_str());
    try {
      sandbox.compute("count() f()");
    } catch (const luacell::Error &error) {
      n++;
      CHECK(error.status() == LUACELL_HOST_FUNCTION);
      luacell::Error copy = error;
      CHECK(copy.cause() != nullptr);
      try {
        std::rethrow_exception(copy.cause());
      } catch (const std::filesystem::filesystem_error &cause) {
        CHECK(which == 3 && cause.path1() == "/etc/secret");
      } catch (const std::exception &) {
        CHECK(which != 8);
      } catch (const std::string &cause) {
        CHECK(which == 8 && cause == "secret");
      }
    }
  }
  CHECK(n == 9);
  CHECK(sandbox.compute("return f()").value() == Value(false));
  /* The error of a run inside passes as it was; userdata of C is no exception. */
  sandbox.add("inner", [&](Values) { return sandbox.compute("local t\nreturn t.x", {}, "=inner").values(); });
  CHECK(status_of([&] { sandbox.compute("inner()"); }) == LUACELL_RUNTIME);
  static int userdata;
  auto fail = [](void *, const luacell_values *, luacell_values *, luacell_error **error) -> luacell_status {
    *error = luacell_error_new("no", 2, &userdata, nullptr);
    return LUACELL_HOST_FUNCTION;
  };
  CHECK(luacell_register(sandbox.get(), "c", 1, fail, nullptr, nullptr, nullptr) == LUACELL_OK);
  try {
    sandbox.compute("c()");
  } catch (const luacell::Error &error) {
    CHECK(luacell_error_userdata(error.get()) == &userdata && error.cause() == nullptr);
  }
  try {
    sandbox.compute("error('no')");
  } catch (const luacell::Error &error) {
    CHECK(error.cause() == nullptr);
  }
}

static void later() {
  test_begin("C++: a function that outlives its run is under the sandbox's limits");
  luacell::Config config;
  config.limits.instruction_limit = 100000;
  config.limits.memory_limit = 8 << 20;
  Sandbox sandbox(config);
  luacell::Limits none;
  none.instruction_limit = none.memory_limit = LUACELL_UNLIMITED;
  Values functions = sandbox.compute("return function() while true do pcall(error) end end, function() return ('x'):rep(1 << 26) end", {}, "", none).values();
  CHECK(status_of([&] { functions[0].call(); }) == LUACELL_INSTRUCTION_LIMIT);
  CHECK(status_of([&] { functions[1].call(); }) == LUACELL_MEMORY);
}

static void state() {
  test_begin("C++: snapshots, forks, interrupts");
  Sandbox sandbox;
  sandbox.compute("n = 1");
  luacell::Snapshot snapshot = luacell::Snapshot::from_bytes(sandbox.snapshot().to_bytes());
  sandbox.compute("n = 2");
  Sandbox fork = sandbox.fork(), other(snapshot);
  sandbox.restore(snapshot);
  CHECK(sandbox.compute("return n").value() == Value(1));
  CHECK(fork.compute("return n").value() == Value(2));
  CHECK(other.compute("return n").value() == Value(1));
  Sandbox moved = std::move(fork);
  moved.compute("_home.x = {1}");
  other.import_home(moved.export_home());
  CHECK(other.compute("return _home.x[1]").value() == Value(1));
  luacell::Interrupter interrupter = sandbox.interrupter();
  sandbox.add("go", [&](Values) {
    std::thread([&] { interrupter.interrupt(); }).join();
    return Values{};
  });
  CHECK(status_of([&] { sandbox.compute("go() while true do end"); }) == LUACELL_INTERRUPTED);
}

int main() {
  values();
  errors();
  host_functions();
  exceptions();
  later();
  state();
  return tests_end();
}
