/* luacell.hpp. */
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <luacell.hpp>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>
#include <unistd.h>

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

static void exact_numbers() {
  test_begin("C++: numbers arrive as they are, or not at all");
  Sandbox sandbox;
  auto is = [&](const char *source) { return sandbox.compute(std::string("return ") + source).value(); };
  auto misfits = [](auto &&body) { return status_of(body) == LUACELL_CONVERSION; };
  CHECK(misfits([&] { (void)is("4294967297").as<int>(); }));
  CHECK(misfits([&] { (void)is("-2147483649").as<int32_t>(); }));
  CHECK(misfits([&] { (void)is("300").as<std::uint8_t>(); }));
  CHECK(misfits([&] { (void)is("300").as<std::int8_t>(); }));
  CHECK(misfits([&] { (void)is("-1").as<unsigned>(); }));
  CHECK(misfits([&] { (void)is("-1").as<std::uint64_t>(); }));
  CHECK(misfits([&] { (void)is("math.mininteger").as<size_t>(); }));
  CHECK(misfits([&] { (void)is("2.0^32").as<int>(); }));
  CHECK(misfits([&] { (void)is("3.5").as<int>(); }));
  CHECK(misfits([&] { (void)is("0/0").as<int64_t>(); }));
  CHECK(misfits([&] { (void)is("9007199254740993").as<double>(); }));
  CHECK(misfits([&] { (void)is("math.maxinteger").as<double>(); }));
  CHECK(misfits([&] { (void)is("16777217").as<float>(); }));
  CHECK(misfits([&] { (void)is("1e300").as<float>(); }));
  CHECK(is("255").as<std::uint8_t>() == 255 && is("-128").as<std::int8_t>() == -128);
  CHECK(is("math.maxinteger").as<std::uint64_t>() == INT64_MAX && is("math.mininteger").as<int64_t>() == INT64_MIN);
  CHECK(is("math.mininteger").as<double>() == -9223372036854775808.0 && is("9007199254740992").as<double>() == 9007199254740992.0);
  CHECK(is("0.1").as<float>() == 0.1f && std::isinf(is("1/0").as<float>()) && std::isnan(is("0/0").as<double>()));
  CHECK(misfits([] { Value(~std::uint64_t{0}); }));
  CHECK(misfits([] { Value(static_cast<std::uint64_t>(INT64_MAX) + 1); }));
  CHECK(misfits([] { Value(1.0L + __LDBL_EPSILON__); }) || sizeof(long double) == sizeof(double));
#ifdef __SIZEOF_INT128__
  __extension__ typedef __int128 Wide;
  if constexpr (std::is_integral_v<Wide>) CHECK(misfits([] { Value(static_cast<Wide>(INT64_MAX) + 1); }));
#endif
  CHECK(Value(static_cast<std::uint64_t>(INT64_MAX)).as<int64_t>() == INT64_MAX && Value(0.5L).as<double>() == 0.5);
  enum Colour { Red = 3 };
  CHECK(Value(Red).type() == LUACELL_TYPE_INTEGER && Value(Red).as<int>() == 3);
}

/* What Lua sees of an error that passes through a host function, and what comes out when Lua does not catch it. */
static void nested_errors() {
  test_begin("C++: an error of a run inside a host function stays what it is");
  Sandbox sandbox;
  luacell::Limits limits;
  limits.instruction_limit = 100000;
  sandbox.add("value", [&](Values) -> Values { sandbox.compute("error{code = 7}"); return {}; });
  sandbox.add("text", [&](Values) -> Values { sandbox.compute("error('inside')", {}, "=inner"); return {}; });
  sandbox.add("limit", [&](Values) -> Values { sandbox.compute("while true do end", {}, {}, limits); return {}; });
  sandbox.add("thrown", [&](Values) -> Values { throw std::runtime_error("the cause"); });
  sandbox.add("through", [&](Values) -> Values { sandbox.compute("thrown()"); return {}; });
  sandbox.add("wrapped", [&](Values) -> Values {
    try {
      sandbox.compute("error{code = 8}");
    } catch (const luacell::Error &error) {
      throw luacell::Error(error);
    }
    return {};
  });
  CHECK(sandbox.compute("return select(2, pcall(value)).code, select(2, pcall(wrapped)).code").values() == Values({7, 8}));
  CHECK(sandbox.compute("return select(2, pcall(text))").value() == Value("inner:1: inside"));
  auto fails = [&](const char *source, luacell_status status, const char *cause) {
    try {
      sandbox.compute(source);
    } catch (const luacell::Error &error) {
      std::string what;
      try {
        if (error.cause()) std::rethrow_exception(error.cause());
      } catch (const std::exception &exception) {
        what = exception.what();
      }
      return error.status() == status && what == cause;
    }
    return false;
  };
  try {
    sandbox.compute("value()");
    CHECK(false, "nothing was thrown");
  } catch (const luacell::Error &error) {
    CHECK(error.status() == LUACELL_RUNTIME && error.value().at("code") == Value(7) && error.metrics().host_calls == 1);
  }
  CHECK(fails("limit()", LUACELL_INSTRUCTION_LIMIT, ""));
  CHECK(fails("thrown()", LUACELL_HOST_FUNCTION, "the cause"));
  CHECK(fails("through()", LUACELL_HOST_FUNCTION, "the cause"));
}

/* Nothing of these may leak, which valgrind sees to. */
static void failures_free() {
  test_begin("C++: what fails gives everything back");
  luacell::Snapshot snapshot = Sandbox().snapshot();
  auto alive = std::make_shared<int>(0);
  luacell::Config config;
  config.print = [alive](std::string_view) {};
  config.more.size = 3;
  CHECK(status_of([&] { Sandbox sandbox(config); }) == LUACELL_INVALID_ARGUMENT);
  CHECK(status_of([&] { Sandbox sandbox(snapshot, config); }) == LUACELL_INVALID_ARGUMENT);
  config.more.size = sizeof config.more;
  config.location = "/no/such/folder/x";
  CHECK(status_of([&] { Sandbox sandbox(config); }) == LUACELL_STORE);
  config.location.clear();
  luacell_limits limits{};
  limits.size = sizeof limits;
  limits.instruction_limit = 10000;
  config.more.limits = &limits;
  CHECK(status_of([&] { Sandbox(config).compute("while true do end"); }) == LUACELL_INSTRUCTION_LIMIT);
  config.limits.output_limit = 10;
  int ended = 0;
  auto end = [](void *userdata) { ++*static_cast<int *>(userdata); };
  config.more.find_module_userdata = config.more.print_userdata = &ended;
  config.more.find_module_finalizer = config.more.print_finalizer = end;
  CHECK(status_of([&] { Sandbox sandbox(config); }) == LUACELL_INVALID_ARGUMENT);
  CHECK(ended == 2, "%d", ended);
  config.print = nullptr;
  CHECK(alive.use_count() == 1);
  Sandbox sandbox;
  CHECK(status_of([&] { sandbox.add("not a name", [alive](Values) -> Values { return {}; }); }) == LUACELL_INVALID_ARGUMENT);
  CHECK(alive.use_count() == 1);
  CHECK(status_of([&] { sandbox.compute("print('x') error{1}", {Value::array({1, 2})}, "=x"); }) == LUACELL_RUNTIME);
  CHECK(status_of([&] { sandbox.call("nothing", {"x"}); }) != LUACELL_OK);
  CHECK(status_of([&] { sandbox.import_home("nonsense"); }) == LUACELL_INVALID_ARGUMENT);
  CHECK(status_of([&] { luacell::Snapshot::from_bytes("nonsense"); }) == LUACELL_INVALID_ARGUMENT);
  CHECK(status_of([&] { (void)Value(1).at("x"); }) == LUACELL_CONVERSION);
  CHECK(status_of([&] { (void)Value(1).entries(); }) == LUACELL_CONVERSION);
  CHECK(status_of([&] { Value::table().set(nullptr, 1); }) != LUACELL_OK);
  Value function = sandbox.compute("return function() end").value();
  sandbox.close();
  CHECK(status_of([&] { function.call({"x"}); }) == LUACELL_CLOSED);
  CHECK(status_of([&] { (void)sandbox.fork(); }) == LUACELL_CLOSED);
  CHECK(status_of([&] { (void)sandbox.snapshot(); }) == LUACELL_CLOSED);
  CHECK(status_of([&] { (void)sandbox.home().at("x"); }) == LUACELL_CLOSED);
  CHECK(status_of([&] { sandbox.add("f", [alive](Values) -> Values { return {}; }); }) == LUACELL_CLOSED);
  CHECK(alive.use_count() == 1);
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

static void waiting() {
  test_begin("C++: runs wait for their answers");
  Sandbox sandbox;
  sandbox.declare("ask");
  luacell::StartOptions options;
  options.name = "=here";
  luacell::Run run = sandbox.start("local a, b = ask(..., 'q') return a .. b, ask()", {7}, options);
  CHECK(run.is_waiting() && run.name().empty() && status_of([&] { (void)run.result(); }) == LUACELL_BUSY);
  auto requests = run.requests();
  CHECK(requests.size() == 1 && requests[0].id == 1 && requests[0].name == "ask" && requests[0].args == Values({7, "q"}));
  run.answer(1, {"A", "B"});
  CHECK(status_of([&] { run.answer(1); }) == LUACELL_INVALID_ARGUMENT);
  run.resume();
  luacell::Run moved = std::move(run);
  CHECK(!run.is_waiting());
  run = std::move(moved);
  run.answer(2);
  run.resume();
  CHECK(!run.is_waiting() && run.requests().empty() && run.result().values() == Values({"AB"}) && run.result().value() == Value("AB"));
  CHECK(status_of([&] { sandbox.start("error('no')", {}, options).result(); }) == LUACELL_RUNTIME);
  sandbox.compute("function twice(x) return ask(x) * 2 end");
  run = sandbox.start_call("twice", {20});
  run.answer(1, {21});
  run.resume();
  CHECK(run.result().value() == Value(42));

  /* Errors, in three forms. */
  run = sandbox.start("return select(2, pcall(ask))");
  run.fail(1, "no luck");
  run.resume();
  CHECK(run.result().value() == Value("no luck"));
  run = sandbox.start("ask()");
  run.fail(1, std::make_exception_ptr(std::runtime_error("the cause")));
  run.resume();
  try {
    run.result();
    CHECK(false, "nothing was thrown");
  } catch (const luacell::Error &error) {
    std::string what;
    try {
      std::rethrow_exception(error.cause());
    } catch (const std::runtime_error &cause) {
      what = cause.what();
    }
    CHECK(error.status() == LUACELL_HOST_FUNCTION && what == "the cause");
  }
  run = sandbox.start("ask()");
  run.fail(1, luacell::Error(LUACELL_STORE, "broken"));
  run.resume();
  CHECK(status_of([&] { run.result(); }) != LUACELL_OK);

  /* Its end. */
  { luacell::Run left = sandbox.start("_home.x = 1 ask()"); }
  CHECK(sandbox.compute("return _home.x").value().is_nil());
  run = sandbox.start("ask()");
  run.cancel();
  CHECK(!run.is_waiting() && status_of([&] { (void)run.result(); }) == LUACELL_CLOSED);

  /* A snapshot has it. */
  run = sandbox.start("return ask('q')");
  Sandbox fork = sandbox.fork();
  auto taken = fork.waiting_run();
  CHECK(taken.has_value() && !fork.waiting_run().has_value() && taken->requests()[0].args == Values({"q"}));
}

static void waiting_and_print() {
  test_begin("C++: what print throws ends a run that goes on, also when its sandbox is gone");
  luacell::Config config;
  config.print = [](std::string_view text) { throw std::runtime_error(std::string(text)); };
  auto thrown = [](auto &&body) {
    try {
      body();
    } catch (const std::runtime_error &error) {
      return std::string(error.what());
    }
    return std::string();
  };
  std::optional<luacell::Run> run;
  {
    Sandbox sandbox(config);
    sandbox.declare("ask");
    CHECK(thrown([&] { sandbox.start("print('at once') while true do end"); }) == "at once\n");
    CHECK(sandbox.compute("return 1").value() == Value(1));
    run = sandbox.start("ask() print('later') while true do end");
  }
  run->answer(1);
  CHECK(thrown([&] { run->resume(); }) == "later\n");
  CHECK(!run->is_waiting() && status_of([&] { run->result(); }) == LUACELL_INTERRUPTED);
}

static void durable() {
  test_begin("C++: durable runs");
  auto folder = std::filesystem::temp_directory_path() / ("luacell-wrapper-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  luacell::Config config;
  config.location = (folder / "runs.luacell").string();
  luacell::StartOptions options;
  options.durable = "order-17";
  {
    Sandbox sandbox(config);
    sandbox.declare("ask");
    luacell::Run run = sandbox.start("_home.paid = ask('payment') return _home.paid", {}, options);
    CHECK(run.name() == "order-17" && run.is_waiting());
    run.renew();
  }
  {
    luacell::Store store = luacell::Store::file(config.location);
    config.location.clear();
    config.store = &store;
    config.more.claim_term_ms = 5000;
    Sandbox sandbox(config), other(config);
    sandbox.declare("ask");
    auto pending = sandbox.pending_runs();
    CHECK(pending.size() == 1 && pending[0].name == "order-17" && pending[0].claimed.count() == 0);
    luacell::Run run = sandbox.resume("order-17");
    CHECK(other.pending_runs()[0].claimed > std::chrono::milliseconds(0) && other.pending_runs()[0].claimed <= std::chrono::seconds(5));
    CHECK(status_of([&] { other.resume("order-17"); }) == LUACELL_BUSY);
    CHECK(status_of([&] { other.drop_pending_run("order-17"); }) == LUACELL_BUSY);
    run.answer(run.requests()[0].id, {30});
    run.resume();
    CHECK(run.result().value() == Value(30) && sandbox.pending_runs().empty() && !sandbox.drop_pending_run("order-17"));
    { luacell::Run left = sandbox.start("ask()", {}, options); }
    CHECK(sandbox.drop_pending_run("order-17"));
    sandbox.start("ask()", {}, options).cancel();
    CHECK(sandbox.pending_runs().empty());
    CHECK(status_of([&] { sandbox.resume("order-17"); }) == LUACELL_INVALID_ARGUMENT);
  }
  std::filesystem::remove_all(folder);
}

static void conflicts() {
  test_begin("C++: repeatable functions, and runs that take turns");
  auto folder = std::filesystem::temp_directory_path() / ("luacell-conflicts-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  luacell::Config config;
  config.location = (folder / "state.luacell").string();
  {
    Sandbox sandbox(config), other(config);
    int calls = 0;
    const auto price = [&](Values) -> Values {
      if (calls++ % 2 == 0) other.compute("_home.n = 10");
      return {1};
    };
    const char *source = "_home.n = (_home.n or 0) + price() return _home.n";
    sandbox.add("price", price, true);
    CHECK(sandbox.compute(source).value() == Value(11) && calls == 2);
    sandbox.add("price", price);
    CHECK(status_of([&] { sandbox.compute(source); }) == LUACELL_CONFLICT && calls == 3);
  }
  {
    config.more.queue_runs = true;
    Sandbox sandbox(config), other(config);
    sandbox.declare("ask");
    luacell::Run run = sandbox.start("_home.n = ask()");
    CHECK(status_of([&] { other.compute("_home.n = 5"); }) == LUACELL_BUSY);
    run.answer(1, {7});
    run.resume();
    CHECK(!run.is_waiting() && other.compute("return _home.n").value() == Value(7));
  }
  std::filesystem::remove_all(folder);
}

struct Account {
  int balance;
  std::string secret;
};

static void host_values() {
  test_begin("C++: functions, objects and iterators of the host");
  Sandbox sandbox;
  sandbox.compute("function apply(f, ...) return f(...) end function same(...) return ... end");
  auto held = std::make_shared<int>(40);
  std::weak_ptr<int> gone = held;
  {
    Value plus = luacell::function([held](const Values &args) { return Values{*held + args.at(0).as<int>()}; });
    held.reset();
    CHECK(sandbox.call("apply", {plus, 2}).value() == Value(42));
    CHECK(sandbox.call("same", {plus}).value() == plus);
  }
  sandbox.gc();
  CHECK(gone.expired());

  luacell::Class<Account> accounts("Account");
  accounts.method("deposit", [](Account &account, const Values &args) { return Values{account.balance += args.at(0).as<int>()}; })
    .method("fail", [](Account &, const Values &) -> Values { throw std::runtime_error("no luck"); })
    .reader("balance", [](Account &account) { return Value(account.balance); })
    .writer("balance", [](Account &account, const Value &value) { account.balance = value.as<int>(); })
    .metamethod("__len", [](Account &, const Values &) { return Values{7}; })
    .metamethod("__add", [&accounts](Account &account, const Values &args) {
      const Value &other = args.at(accounts.from(args.at(0)) != nullptr ? 1 : 0);
      return Values{account.balance + other.as<int>()};
    });
  auto account = std::make_shared<Account>(Account{10, "secret"});
  std::weak_ptr<Account> last = account;
  Value value = accounts.object(account);
  CHECK(accounts.from(value) == account.get() && accounts.from(Value(1)) == nullptr && luacell::Class<Account>("Other").from(value) == nullptr);
  sandbox.compute("a = ...", {value});
  CHECK(sandbox.compute("return a:deposit(5), a.balance, a.secret, #a, a + 1, 2 + a").values() == (Values{15, 15, nullptr, 7, 16, 17}));
  CHECK(sandbox.compute("a.balance = 3 return a, rawequal(a, ...)", {accounts.object(account)}).values() == (Values{value, true}));
  CHECK(account->balance == 3);
  CHECK(status_of([&] { sandbox.compute("a:fail()"); }) == LUACELL_HOST_FUNCTION);
  CHECK(status_of([&] { sandbox.compute("a.balance = 'x'"); }) == LUACELL_HOST_FUNCTION);
  CHECK(status_of([&] { sandbox.compute("a.secret = 'x'"); }) == LUACELL_RUNTIME);
  CHECK(status_of([&] { accounts.method("late", [](Account &, const Values &) { return Values{}; }); }) == LUACELL_INVALID_ARGUMENT);
  account.reset();
  value = nullptr;
  CHECK(!last.expired());
  sandbox.compute("a = nil");
  sandbox.gc();
  CHECK(last.expired());

  auto at = std::make_shared<int>(0);
  Value numbers = luacell::iterator([at]() { return *at < 5 ? Values{++*at} : Values{}; });
  CHECK(sandbox.compute("local s = 0 for n in ... do s = s + n end return s", {numbers}).value() == Value(15));
  CHECK(at.use_count() == 1);
}

int main() {
  values();
  host_values();
  exact_numbers();
  nested_errors();
  failures_free();
  errors();
  host_functions();
  exceptions();
  later();
  state();
  waiting();
  waiting_and_print();
  durable();
  conflicts();
  return tests_end();
}
