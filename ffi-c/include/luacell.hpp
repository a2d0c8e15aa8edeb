/*
 * luacell for C++17: objects that free what they hold, std::string_view, exceptions. A thin layer over luacell.h, which says what everything
 * means; nothing here has to be linked.
 *
 *   luacell::Sandbox sandbox;
 *   auto sum = sandbox.compute("local a, b = ... return a + b", {1, 2}).value().as<int64_t>();
 *
 * Every failing call throws luacell::Error. Objects can be moved; values, errors and snapshots can also be copied. `get()` returns the
 * C object, for what is missing here. Threads: as in C.
 */
#ifndef LUACELL_HPP
#define LUACELL_HPP

#include <luacell.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace luacell {

namespace detail {

template <auto free>
struct Free {
  template <typename T>
  void operator()(T *pointer) const {
    free(pointer);
  }
};

template <typename T, auto free>
using Owned = std::unique_ptr<T, Free<free>>;

inline std::string_view view(luacell_bytes bytes) {
  return bytes.data != nullptr ? std::string_view(bytes.data, bytes.len) : std::string_view();
}

/* Zeroed, with its size. */
template <typename T>
T sized() {
  T value{};
  value.size = sizeof(T);
  return value;
}

/* What a host function threw, as long as an error knows of it. */
class Thrown {
 public:
  /* An error for the script with a message that somebody chose for it. */
  static luacell_error *error(std::exception_ptr exception) {
    std::string message = chosen_message(exception);
    auto thrown = std::make_unique<Thrown>(std::move(exception));
    {
      std::lock_guard<std::mutex> lock(all().mutex);
      all().set.insert(thrown.get());
    }
    return luacell_error_new(message.data(), message.size(), thrown.release(), end);
  }

  /* What is behind an error, unless its userdata is something of C. */
  static std::exception_ptr behind(const luacell_error *error) {
    std::lock_guard<std::mutex> lock(all().mutex);
    auto found = all().set.find(luacell_error_userdata(error));
    return found != all().set.end() ? static_cast<const Thrown *>(*found)->exception_ : nullptr;
  }

  explicit Thrown(std::exception_ptr exception) : exception_(std::move(exception)) {}

 private:
  struct All {
    std::mutex mutex;
    std::set<void *> set;
  };

  static All &all() {
    static All *all = new All();
    return *all;
  }

  static void end(void *thrown) {
    {
      std::lock_guard<std::mutex> lock(all().mutex);
      all().set.erase(thrown);
    }
    delete static_cast<Thrown *>(thrown);
  }

  /* What the system and the language word themselves names files and types. */
  static std::string chosen_message(const std::exception_ptr &exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const std::system_error &) {
    } catch (const std::bad_alloc &) {
    } catch (const std::bad_cast &) {
    } catch (const std::bad_typeid &) {
    } catch (const std::bad_exception &) {
    } catch (const std::bad_function_call &) {
    } catch (const std::exception &chosen) {
      if (*chosen.what() != '\0') return chosen.what();
    } catch (...) {
    }
    return "the host function failed";
  }

  std::exception_ptr exception_;
};

}  // namespace detail

class Value;

/** What failed. The views are valid as long as a copy of the error exists. */
class Error : public std::exception {
 public:
  /** Takes over an error of the C interface. */
  explicit Error(luacell_error *error)
      : error_(error, [](luacell_error *e) { luacell_error_free(e); }), what_(detail::view(luacell_error_message(error))) {}

  /** A new one. */
  Error(luacell_status status, std::string_view message) : Error(luacell_error_of(status, message.data(), message.size())) {}

  /** One of LUACELL_SYNTAX ... */
  luacell_status status() const { return luacell_error_status(error_.get()); }
  const char *what() const noexcept override { return what_.c_str(); }
  std::string_view message() const { return detail::view(luacell_error_message(error_.get())); }
  std::string_view chunk() const { return detail::view(luacell_error_chunk(error_.get())); }
  /** From 1; 0 if it is not known. */
  uint32_t line() const { return luacell_error_line(error_.get()); }
  std::string_view traceback() const { return detail::view(luacell_error_traceback(error_.get())); }
  /** What was printed before. */
  std::string_view output() const { return detail::view(luacell_error_output(error_.get())); }
  /** What error() was given in Lua, if that was not a string; otherwise nil. */
  Value value() const;
  /** What the script used before. */
  luacell_metrics metrics() const;
  /** What a host function threw, if that caused this error; otherwise nothing. */
  std::exception_ptr cause() const { return detail::Thrown::behind(error_.get()); }
  const luacell_error *get() const { return error_.get(); }

 private:
  std::shared_ptr<luacell_error> error_;
  std::string what_;
};

namespace detail {

/* What print threw in a run on this thread, and the sandbox that runs. C can't carry exceptions: they wait here for the call's end. */
struct Printing {
  luacell_sandbox *sandbox = nullptr;
  /* Instead of the sandbox, whose handle may be gone when a run goes on. */
  const luacell_interrupter *interrupter = nullptr;
  std::exception_ptr failure;
};

inline Printing &printing() {
  static thread_local Printing printing;
  return printing;
}

/* What runs on this thread until the end of the block. */
class PrintingScope {
 public:
  PrintingScope(luacell_sandbox *sandbox, const luacell_interrupter *interrupter)
      : sandbox_(std::exchange(printing().sandbox, sandbox)), interrupter_(std::exchange(printing().interrupter, interrupter)) {}
  PrintingScope(const PrintingScope &) = delete;
  ~PrintingScope() {
    printing().sandbox = sandbox_;
    printing().interrupter = interrupter_;
  }

 private:
  luacell_sandbox *sandbox_;
  const luacell_interrupter *interrupter_;
};

/* Calls with a place for the error as the last argument, and throws it; what print threw comes first. */
template <typename F, typename... Args>
void check(F function, Args... args) {
  luacell_error *error = nullptr;
  luacell_status status = function(args..., &error);
  if (auto failure = std::exchange(printing().failure, nullptr)) {
    luacell_error_free(error);
    std::rethrow_exception(failure);
  }
  if (status != LUACELL_OK) throw Error(error);
}

/* As check, for calls whose last but one argument is the place for an outcome. */
template <typename F, typename... Args>
luacell_outcome *run(F function, Args... args) {
  luacell_outcome *outcome = nullptr;
  try {
    check(function, args..., &outcome);
  } catch (...) {
    luacell_outcome_free(outcome);
    throw;
  }
  return outcome;
}

}  // namespace detail

class Outcome;

/**
 * A Lua value. Reading one as a type that it is not, or that it does not fit, throws an Error with LUACELL_CONVERSION; so does making one from a
 * number that Lua does not have.
 */
class Value {
 public:
  /** nil */
  Value(std::nullptr_t = nullptr) : value_(luacell_value_new_nil()) {}
  template <typename T, std::enable_if_t<std::is_same_v<T, bool>, int> = 0>
  Value(T boolean) : value_(luacell_value_new_boolean(boolean)) {}
  /** From any integer type that fits into 64 bits with sign. */
  template <typename T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, long> = 0>
  Value(T integer) : value_(luacell_value_new_integer(exactly<int64_t>(integer))) {}
  /** An enumerator becomes its number. */
  template <typename T, std::enable_if_t<std::is_enum_v<T> && std::is_convertible_v<T, int64_t>, short> = 0>
  Value(T enumerator) : Value(static_cast<std::underlying_type_t<T>>(enumerator)) {}
  Value(double number) : value_(luacell_value_new_float(number)) {}
  /** A floating-point number that a double can hold. */
  template <typename T, std::enable_if_t<std::is_same_v<T, long double>, char> = 0>
  Value(T number) : value_(luacell_value_new_float(exactly<double>(number))) {}
  Value(std::string_view text) : value_(luacell_value_new_string(text.data(), text.size())) {}
  Value(const std::string &text) : Value(std::string_view(text)) {}
  Value(const char *text) : Value(std::string_view(text)) {}
  Value(const Value &other) : value_(luacell_value_clone(other.get())) {}
  Value(Value &&) noexcept = default;
  Value &operator=(Value other) noexcept {
    value_ = std::move(other.value_);
    return *this;
  }

  /** An empty table. */
  static Value table() { return adopt(luacell_value_new_table()); }
  /** A table with the keys 1 to n. */
  static Value array(std::initializer_list<Value> items) {
    Value table = Value::table();
    for (const Value &item : items) table.push(item);
    return table;
  }
  /** Takes over a value of the C interface. */
  static Value adopt(luacell_value *value) {
    Value adopted(Uninitialised{});
    adopted.value_.reset(value);
    return adopted;
  }
  /** Copies one that belongs to something else. */
  static Value copy(const luacell_value *value) { return adopt(luacell_value_clone(value)); }

  /** One of LUACELL_TYPE_NIL ... */
  luacell_type type() const { return luacell_value_type(get()); }
  bool is_nil() const { return type() == LUACELL_TYPE_NIL; }

  /**
   * bool, an integer type, a floating one, std::string_view (valid as long as the value) or std::string. An integer has to fit, also a floating type;
   * of a float's digits as<float>() keeps what it has room for, but it has to be in range.
   */
  template <typename T>
  T as() const {
    if constexpr (std::is_same_v<T, bool>) {
      return read<bool>(luacell_value_to_boolean);
    } else if constexpr (std::is_integral_v<T>) {
      return exactly<T>(read<int64_t>(luacell_value_to_integer));
    } else if constexpr (std::is_floating_point_v<T>) {
      if (type() == LUACELL_TYPE_INTEGER) return exactly<T>(read<int64_t>(luacell_value_to_integer));
      auto number = read<double>(luacell_value_to_number);
      auto rounded = static_cast<T>(number);
      if (std::isinf(rounded) && !std::isinf(number)) misfit(number);
      return rounded;
    } else {
      return T(detail::view(read<luacell_bytes>(luacell_value_to_string)));
    }
  }

  /** The value under a key, of a table by value or a stored one. */
  Value at(const Value &key) const {
    luacell_value *value = nullptr;
    detail::check(luacell_table_get, get(), key.get(), &value);
    return adopt(value);
  }
  /** nil removes the key. */
  void set(const Value &key, const Value &value) { detail::check(luacell_table_set, get(), key.get(), value.get()); }
  void push(const Value &value) { detail::check(luacell_table_push, get(), value.get()); }
  size_t count() const {
    size_t count = 0;
    detail::check(luacell_table_count, get(), &count);
    return count;
  }
  /** All entries as they are at this moment. */
  std::vector<std::pair<Value, Value>> entries() const;
  /** Calls a function, while its sandbox lives. */
  Outcome call(const std::vector<Value> &args = {}) const;

  luacell_value *get() { return value_.get(); }
  const luacell_value *get() const { return value_.get(); }

  friend bool operator==(const Value &a, const Value &b) { return luacell_value_equal(a.get(), b.get()); }
  friend bool operator!=(const Value &a, const Value &b) { return !(a == b); }

 private:
  struct Uninitialised {};
  explicit Value(Uninitialised) {}

  template <typename T>
  [[noreturn]] static void misfit(T number) {
    std::string digits = "a number";
    if constexpr (std::is_floating_point_v<T> || sizeof(T) <= sizeof(int64_t)) digits = std::to_string(number);
    throw Error(LUACELL_CONVERSION, digits + " does not fit");
  }

  /* The same number in another type. */
  template <typename To, typename From>
  static To exactly(From number) {
    if constexpr (std::is_floating_point_v<To> && std::is_integral_v<From>) {
      /* Back it would not fit where it was rounded up to 2^63. */
      constexpr To limit = static_cast<To>(9223372036854775808.0);
      auto converted = static_cast<To>(number);
      if (converted >= limit || static_cast<From>(converted) != number) misfit(number);
      return converted;
    } else {
      auto converted = static_cast<To>(number);
      bool same = static_cast<From>(converted) == number && negative(converted) == negative(number);
      if constexpr (std::is_floating_point_v<From>) same = same || std::isnan(number);
      if (!same) misfit(number);
      return converted;
    }
  }

  template <typename T>
  static constexpr bool negative(T number) {
    if constexpr (std::is_unsigned_v<T>) return false;
    else return number < T{};
  }

  template <typename T>
  T read(luacell_status (*function)(const luacell_value *, T *, luacell_error **)) const {
    T result{};
    detail::check(function, get(), &result);
    return result;
  }

  detail::Owned<luacell_value, luacell_value_free> value_;
};

inline Value Error::value() const { return Value::copy(luacell_error_value(error_.get())); }

inline luacell_metrics Error::metrics() const {
  auto metrics = detail::sized<luacell_metrics>();
  detail::check(luacell_error_metrics, get(), &metrics);
  return metrics;
}

/** Arguments and results. */
using Values = std::vector<Value>;

namespace detail {

using OwnedValues = Owned<luacell_values, luacell_values_free>;

inline Values copy_all(const luacell_values *values) {
  Values all;
  size_t count = luacell_values_len(values);
  all.reserve(count);
  for (size_t i = 0; i < count; i++) all.push_back(Value::copy(luacell_values_get(values, i)));
  return all;
}

inline OwnedValues list_of(const Values &values) {
  OwnedValues list(luacell_values_new());
  for (const Value &value : values) check(luacell_values_push, list.get(), value.get());
  return list;
}

}  // namespace detail

inline std::vector<std::pair<Value, Value>> Value::entries() const {
  luacell_values *list = nullptr;
  detail::check(luacell_table_entries, get(), &list);
  detail::OwnedValues owned(list);
  std::vector<std::pair<Value, Value>> all;
  for (size_t i = 0; i + 1 < luacell_values_len(list); i += 2)
    all.emplace_back(copy(luacell_values_get(list, i)), copy(luacell_values_get(list, i + 1)));
  return all;
}

/** The results of a run. */
class Outcome {
 public:
  explicit Outcome(luacell_outcome *outcome) : outcome_(outcome) {}
  /** The first value, or nil. */
  Value value() const { return Value::copy(luacell_outcome_value(outcome_.get())); }
  Values values() const { return detail::copy_all(luacell_outcome_values(outcome_.get())); }
  /** Valid as long as the outcome. */
  std::string_view output() const { return detail::view(luacell_outcome_output(outcome_.get())); }
  luacell_metrics metrics() const {
    auto metrics = detail::sized<luacell_metrics>();
    detail::check(luacell_outcome_metrics, outcome_.get(), &metrics);
    return metrics;
  }
  const luacell_outcome *get() const { return outcome_.get(); }

 private:
  detail::Owned<luacell_outcome, luacell_outcome_free> outcome_;
};

inline Outcome Value::call(const Values &args) const {
  auto list = detail::list_of(args);
  return Outcome(detail::run(luacell_function_call, get(), static_cast<const luacell_values *>(list.get())));
}

/** Limits, to be filled in: fields that stay 0 keep their defaults. */
struct Limits : luacell_limits {
  Limits() : luacell_limits(detail::sized<luacell_limits>()) {}
};

/** A place where tables live. */
class Store {
 public:
  explicit Store(luacell_store *store) : store_(store) {}
  static Store file(std::string_view path) {
    luacell_store *store = nullptr;
    detail::check(luacell_store_open_file, path.data(), path.size(), static_cast<const luacell_file_options *>(nullptr), &store);
    return Store(store);
  }
  static Store server(std::string_view url) {
    luacell_store *store = nullptr;
    detail::check(luacell_store_open_server, url.data(), url.size(), static_cast<const luacell_server_options *>(nullptr), &store);
    return Store(store);
  }
  const luacell_store *get() const { return store_.get(); }

 private:
  detail::Owned<luacell_store, luacell_store_free> store_;
};

/** A whole sandbox at one moment. */
class Snapshot {
 public:
  explicit Snapshot(luacell_snapshot *snapshot) : snapshot_(snapshot) {}
  static Snapshot from_bytes(std::string_view bytes) {
    luacell_snapshot *snapshot = nullptr;
    detail::check(luacell_snapshot_from_bytes, static_cast<const luacell_engine *>(nullptr), bytes.data(), bytes.size(), &snapshot);
    return Snapshot(snapshot);
  }
  std::string to_bytes() const {
    luacell_value *blob = nullptr;
    detail::check(luacell_snapshot_to_bytes, get(), &blob);
    return Value::adopt(blob).as<std::string>();
  }
  const luacell_snapshot *get() const { return snapshot_.get(); }

 private:
  detail::Owned<luacell_snapshot, luacell_snapshot_free> snapshot_;
};

/** Interrupts a sandbox that may be gone already. */
class Interrupter {
 public:
  explicit Interrupter(luacell_interrupter *interrupter) : interrupter_(interrupter) {}
  void interrupt() const noexcept { luacell_interrupter_interrupt(interrupter_.get()); }
  const luacell_interrupter *get() const { return interrupter_.get(); }

 private:
  detail::Owned<luacell_interrupter, luacell_interrupter_free> interrupter_;
};

/** A call of a declared function that waits for its answer. */
struct Request {
  /** Kept for as long as the run waits for it, also in a snapshot and in a store. Counted from 1 in each run. */
  uint64_t id;
  /** The function; "task.sleep" for a script that lets time pass, with the seconds as its argument. */
  std::string name;
  /** What the script passed. */
  Values args;
};

/** A durable run that waits in a store. */
struct PendingRun {
  std::string name;
  /** How much longer somebody has claimed it; 0 if anybody may resume it. */
  std::chrono::milliseconds claimed;
};

/** Settings of a run that is started. */
struct StartOptions {
  /** The chunk's name, as in Lua: "=rules". Not for calls. */
  std::string name;
  /** The run's name in the sandbox's store, under which it survives the process; empty for a run that ends with its object. */
  std::string durable;
  /** Limits that hold instead of the sandbox's where they are set. */
  Limits limits;
};

/**
 * A run that was started: it is done, or it waits for answers to calls of declared functions. The destructor leaves it: one that is durable waits on in
 * its store, any other is cancelled. It keeps its sandbox alive. Used by one thread at a time.
 */
class Run {
 public:
  /** Takes over a run of the C interface. The interrupter, which belongs to its sandbox, ends it when print throws. */
  Run(luacell_run *run, Interrupter interrupter) : run_(run), interrupter_(std::move(interrupter)) {}

  bool is_waiting() const { return luacell_run_is_waiting(get()); }
  /** Its name in the store; empty if it is not durable. */
  std::string_view name() const { return detail::view(luacell_run_name(get())); }
  /** What it waits for, in the order in which it was asked; nothing when it is done. */
  std::vector<Request> requests() const {
    luacell_requests *list = nullptr;
    detail::check(luacell_run_requests, get(), &list);
    detail::Owned<luacell_requests, luacell_requests_free> owned(list);
    std::vector<Request> all;
    for (size_t i = 0; i < luacell_requests_len(list); i++) {
      all.push_back({luacell_requests_id(list, i), std::string(detail::view(luacell_requests_name(list, i))),
                     detail::copy_all(luacell_requests_args(list, i))});
    }
    return all;
  }
  /** Answers a request with what the function returns, in any order. The script gets it when the run is resumed. */
  void answer(uint64_t id, const Values &values = {}) {
    auto list = detail::list_of(values);
    detail::check(luacell_run_answer, get(), id, static_cast<const luacell_values *>(list.get()));
  }
  /** Answers a request with an error, which the script can catch. */
  void fail(uint64_t id, const Error &error) { detail::check(luacell_run_fail, get(), id, error.get()); }
  void fail(uint64_t id, std::string_view message) { fail(id, Error(luacell_error_new(message.data(), message.size(), nullptr, nullptr))); }
  /** With an exception, as if a HostFunction had thrown it. */
  void fail(uint64_t id, const std::exception_ptr &exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const Error &error) {
      fail(id, error);
    } catch (...) {
      fail(id, Error(detail::Thrown::error(std::current_exception())));
    }
  }
  /** Lets the script continue with the answers that were given. Afterwards the run is done, or it waits again. What the script fails with, result throws. */
  void resume() {
    detail::PrintingScope scope(nullptr, interrupter_.get());
    detail::check(luacell_run_resume, get());
  }
  /** What it gave. Throws what it failed with; LUACELL_BUSY while it waits, LUACELL_CLOSED if it was cancelled. */
  Outcome result() const { return Outcome(detail::run(luacell_run_result, get())); }
  /** Claims a durable run for another term. */
  void renew() { detail::check(luacell_run_renew, get()); }
  /** Ends a run that waits, also a durable one. */
  void cancel() { luacell_run_cancel(get()); }

  luacell_run *get() { return run_.get(); }
  const luacell_run *get() const { return run_.get(); }

 private:
  detail::Owned<luacell_run, luacell_run_free> run_;
  Interrupter interrupter_;
};

/** Settings of a sandbox: those of C, and what C++ has better types for. */
struct Config {
  Limits limits;
  /** A path or URL; empty for memory. */
  std::string location;
  /** Instead of `location`; needed only until the sandbox is made. */
  const Store *store = nullptr;
  /** Receives printed text immediately. If it throws, that ends the run, and the call that began or resumed the run throws it again. */
  std::function<void(std::string_view)> print;
  /** Everything else, such as `claim_term_ms` and `queue_runs`. If both set the same thing, the setting above counts, except for limits: set them in only one of the two places. */
  luacell_sandbox_config more = detail::sized<luacell_sandbox_config>();
};

/**
 * A function of the host. What it throws is an error in the script: an Error as it is, anything else with the message of a std::exception, unless the
 * system or the language worded it, as with std::system_error or std::bad_alloc. Error::cause returns it.
 */
using HostFunction = std::function<Values(Values)>;

namespace detail {

/* What a function of the host gives, or how it failed. */
template <typename Call>
luacell_status answer(luacell_values *results, luacell_error **error, Call call) noexcept {
  try {
    for (const Value &value : call()) {
      luacell_status status = luacell_values_push(results, value.get(), error);
      if (status != LUACELL_OK) return status;
    }
    return LUACELL_OK;
  } catch (const Error &passed) {
    *error = luacell_error_clone(passed.get());
  } catch (...) {
    *error = Thrown::error(std::current_exception());
  }
  return LUACELL_HOST_FUNCTION;
}

inline luacell_status call_host(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) noexcept {
  return answer(results, error, [&] { return (*static_cast<HostFunction *>(userdata))(copy_all(args)); });
}

template <typename T>
void end(void *userdata) noexcept {
  delete static_cast<T *>(userdata);
}

}  // namespace detail

/** A function as a value: an argument, a result, or anything in a table. Copies of the value are the same function in Lua. */
inline Value function(HostFunction function) {
  return Value::adopt(luacell_value_new_function(detail::call_host, new HostFunction(std::move(function)), detail::end<HostFunction>));
}

/** An iterator for `for a, b in iterator do`. `next` gives the values of each step, and none after the last. It ends when the loop is left. */
inline Value iterator(std::function<Values()> next) {
  auto *userdata = new HostFunction([next = std::move(next)](const Values &) { return next(); });
  return Value::adopt(luacell_value_new_iterator(detail::call_host, userdata, detail::end<HostFunction>));
}

/**
 * What scripts can do with objects of type T: what is listed, and nothing else. All members are listed before the first object is made.
 *
 *     luacell::Class<Account> accounts("Account");
 *     accounts.method("deposit", [](Account &account, Values args) -> Values { return {account.deposit(args.at(0).as<int>())}; });
 *     sandbox.call("f", {accounts.object(std::make_shared<Account>())});
 */
template <typename T>
class Class {
 public:
  using Method = std::function<Values(T &, Values)>;

  explicit Class(std::string name) : name_(std::move(name)) {}

  /** object:name(...) */
  Class &method(std::string name, Method method) { return add(LUACELL_METHOD, std::move(name), std::move(method)); }
  /** object.name, read. */
  Class &reader(std::string name, std::function<Value(T &)> read) {
    return add(LUACELL_READER, std::move(name), [read = std::move(read)](T &object, const Values &) { return Values{read(object)}; });
  }
  /** object.name = value */
  Class &writer(std::string name, std::function<void(T &, Value)> write) {
    return add(LUACELL_WRITER, std::move(name), [write = std::move(write)](T &object, const Values &args) {
      write(object, args.at(0));
      return Values{};
    });
  }
  /** What Lua calls for an operator and the like, by its name in Lua such as "__add". It gets all operands, of which one is the object. */
  Class &metamethod(std::string name, Method method) { return add(LUACELL_METAMETHOD, std::move(name), std::move(method)); }

  /** An object as a value, which holds it. In Lua, all that are made of one pointer are the same object. */
  Value object(std::shared_ptr<T> object) {
    T *pointer = object.get();
    luacell_class *made = get();
    return Value::adopt(luacell_value_new_object(made, pointer, new std::shared_ptr<T>(std::move(object)), detail::end<std::shared_ptr<T>>));
  }

  /** The object that a value is, while the value lasts; nullptr for anything else than an object of this class. */
  T *from(const Value &value) { return static_cast<T *>(luacell_value_object(value.get(), get())); }

 private:
  struct Member {
    luacell_member_kind kind;
    std::string name;
    Method call;
  };
  using Members = std::vector<Member>;

  Class &add(luacell_member_kind kind, std::string name, Method call) {
    if (class_) throw Error(LUACELL_INVALID_ARGUMENT, "members are listed before the first object is made");
    members_.push_back({kind, std::move(name), std::move(call)});
    return *this;
  }

  luacell_class *get() {
    if (!class_) {
      auto *members = new Members(std::move(members_));
      std::vector<luacell_member> list;
      for (Member &member : *members) list.push_back({member.kind, member.name.c_str(), call_method, &member.call});
      luacell_class *made = nullptr;
      detail::check(luacell_class_new, name_.data(), name_.size(), list.data(), list.size(), static_cast<void *>(members), detail::end<Members>, &made);
      class_.reset(made);
    }
    return class_.get();
  }

  static luacell_status call_method(void *userdata, void *object, const luacell_values *args, luacell_values *results, luacell_error **error) noexcept {
    return detail::answer(results, error, [&] { return (*static_cast<Method *>(userdata))(*static_cast<T *>(object), detail::copy_all(args)); });
  }

  std::string name_;
  Members members_;
  detail::Owned<luacell_class, luacell_class_free> class_;
};

/** One isolated Lua. */
class Sandbox {
 public:
  Sandbox() : Sandbox(Config()) {}
  explicit Sandbox(const Config &config) {
    luacell_sandbox *sandbox = nullptr;
    auto c = to_c(config);
    detail::check(luacell_sandbox_new, static_cast<const luacell_engine *>(nullptr), &c, &sandbox);
    sandbox_.reset(sandbox);
  }
  explicit Sandbox(const Snapshot &snapshot, const Config &config = Config()) {
    luacell_sandbox *sandbox = nullptr;
    auto c = to_c(config);
    detail::check(luacell_sandbox_new_from_snapshot, static_cast<const luacell_engine *>(nullptr), snapshot.get(), &c, &sandbox);
    sandbox_.reset(sandbox);
  }
  /** Takes over a sandbox of the C interface. */
  explicit Sandbox(luacell_sandbox *sandbox) : sandbox_(sandbox) {}

  Outcome compute(std::string_view source) { return start(luacell_compute, source, nullptr); }
  /** `name` is the chunk's, as in Lua: "=rules". */
  Outcome compute(std::string_view source, const Values &args, std::string_view name = {}, const Limits &limits = {}) {
    return start(luacell_compute, source, args, name, limits);
  }
  Outcome call(std::string_view function, const Values &args = {}, const Limits &limits = {}) {
    return start(luacell_call, function, args, {}, limits);
  }

  /** Makes the name a function whose calls become requests of the run, for whoever starts it. */
  void declare(std::string_view name) { detail::check(luacell_declare, get(), name.data(), name.size()); }
  /** Starts a run, which is done or waits when this returns. What the script fails with, Run::result throws. */
  Run start(std::string_view source, const Values &args = {}, const StartOptions &options = {}) {
    return begin(luacell_start, source, args, options);
  }
  /** As start, for a global Lua function. */
  Run start_call(std::string_view function, const Values &args = {}, const StartOptions &options = {}) {
    return begin(luacell_start_call, function, args, options);
  }
  /** The run that came with the snapshot that this sandbox was made of or restored to; nothing if there is none, or somebody has it. */
  std::optional<Run> waiting_run() {
    luacell_run *run = nullptr;
    Interrupter ending = interrupter();
    detail::check(luacell_sandbox_waiting_run, get(), &run);
    return run != nullptr ? std::optional<Run>(std::in_place, run, std::move(ending)) : std::nullopt;
  }
  /** Continues a durable run that waits in this sandbox's store, from where it waited last. */
  Run resume(std::string_view name) {
    luacell_run *run = nullptr;
    Interrupter ending = interrupter();
    detail::check(luacell_sandbox_resume, get(), name.data(), name.size(), &run);
    return Run(run, std::move(ending));
  }
  /** The durable runs that wait in this sandbox's store, in the order of their names. */
  std::vector<PendingRun> pending_runs() const {
    luacell_pending_runs *list = nullptr;
    detail::check(luacell_sandbox_pending_runs, get(), &list);
    detail::Owned<luacell_pending_runs, luacell_pending_runs_free> owned(list);
    std::vector<PendingRun> all;
    for (size_t i = 0; i < luacell_pending_runs_len(list); i++) {
      auto claimed = static_cast<std::chrono::milliseconds::rep>(luacell_pending_runs_claimed_ms(list, i));
      all.push_back({std::string(detail::view(luacell_pending_runs_name(list, i))), std::chrono::milliseconds(claimed)});
    }
    return all;
  }
  /** Removes a durable run that waits and that nobody has claimed; whether there was one. What it wrote to tables stays. */
  bool drop_pending_run(std::string_view name) {
    bool there = false;
    detail::check(luacell_sandbox_drop_pending_run, get(), name.data(), name.size(), &there);
    return there;
  }

  /** `repeatable`: it may be called again when a run is repeated after a conflict, for example because it only looks something up. */
  void add(std::string_view name, HostFunction function, bool repeatable = false) {
    auto userdata = std::make_unique<HostFunction>(std::move(function));
    detail::check(repeatable ? luacell_register_repeatable : luacell_register, get(), name.data(), name.size(), detail::call_host, static_cast<void *>(userdata.release()), detail::end<HostFunction>);
  }
  bool remove(std::string_view name) {
    bool there = false;
    detail::check(luacell_unregister, get(), name.data(), name.size(), &there);
    return there;
  }

  Value home() const { return read(luacell_sandbox_home); }
  Value input() const { return read(luacell_sandbox_input); }
  Value output() const { return read(luacell_sandbox_output); }
  Value meta() const { return read(luacell_sandbox_meta); }
  void set_input(const Value &value) { detail::check(luacell_sandbox_set_input, get(), value.get()); }
  void set_output(const Value &value) { detail::check(luacell_sandbox_set_output, get(), value.get()); }
  void set_meta(const Value &value) { detail::check(luacell_sandbox_set_meta, get(), value.get()); }
  std::string export_home() const { return read(luacell_sandbox_export_home).as<std::string>(); }
  /** `trusted`: functions too, which are bytecode that Lua does not verify. */
  void import_home(std::string_view blob, bool trusted = false) {
    const auto import = trusted ? luacell_sandbox_import_trusted_home : luacell_sandbox_import_home;
    detail::check(import, get(), blob.data(), blob.size());
  }

  Snapshot snapshot() const {
    luacell_snapshot *snapshot = nullptr;
    detail::check(luacell_sandbox_snapshot, get(), &snapshot);
    return Snapshot(snapshot);
  }
  /** Tables in memory become those of the snapshot; a sandbox with a store keeps its own. */
  void restore(const Snapshot &snapshot) { detail::check(luacell_sandbox_restore, get(), snapshot.get()); }
  /** With `tables`, everything else that the sandbox's store holds is removed. */
  void restore(const Snapshot &snapshot, bool tables) { detail::check(luacell_sandbox_restore_tables, get(), snapshot.get(), tables); }
  Sandbox fork() const {
    luacell_sandbox *fork = nullptr;
    detail::check(luacell_sandbox_fork, get(), &fork);
    return Sandbox(fork);
  }

  void reset() { detail::check(luacell_sandbox_reset, get()); }
  void gc() { detail::check(luacell_sandbox_gc, get()); }
  void close() { detail::check(luacell_sandbox_close, get()); }
  void interrupt() const noexcept { luacell_sandbox_interrupt(get()); }
  Interrupter interrupter() const {
    luacell_interrupter *interrupter = nullptr;
    detail::check(luacell_interrupter_new, get(), &interrupter);
    return Interrupter(interrupter);
  }
  luacell_sandbox *get() const { return sandbox_.get(); }

 private:
  using Print = std::function<void(std::string_view)>;
  using Start = luacell_status (*)(luacell_sandbox *, const char *, size_t, const luacell_compute_options *, luacell_outcome **,
                                   luacell_error **);

  /* Ends what a struct of C would have the library end, unless it gets there. */
  struct Finalizers {
    luacell_sandbox_config &config;
    bool armed = true;
    void print() const {
      if (config.print_finalizer != nullptr) config.print_finalizer(config.print_userdata);
    }
    ~Finalizers() {
      if (!armed) return;
      print();
      if (config.find_module_finalizer != nullptr) config.find_module_finalizer(config.find_module_userdata);
    }
  };

  static luacell_sandbox_config to_c(const Config &config) {
    luacell_sandbox_config c = config.more;
    Finalizers finalizers{c};
    if (c.limits == nullptr) {
      c.limits = &config.limits;
    } else if (Limits none; std::memcmp(&none, &config.limits, sizeof(luacell_limits)) != 0) {
      throw Error(LUACELL_INVALID_ARGUMENT, "limits are set in Config::limits or in Config::more.limits, not in both");
    }
    if (!config.location.empty()) {
      c.location = config.location.data();
      c.location_len = config.location.size();
    }
    if (config.store != nullptr) c.store = config.store->get();
    if (config.print) {
      auto userdata = std::make_unique<Print>(config.print);
      finalizers.print();
      c.print = [](void *userdata, const char *text, size_t len) noexcept {
        auto &now = detail::printing();
        if (now.failure) return;
        try {
          (*static_cast<Print *>(userdata))({text, len});
        } catch (...) {
          now.failure = std::current_exception();
          luacell_sandbox_interrupt(now.sandbox);
          luacell_interrupter_interrupt(now.interrupter);
        }
      };
      c.print_userdata = userdata.release();
      c.print_finalizer = [](void *userdata) { delete static_cast<Print *>(userdata); };
    }
    finalizers.armed = false;
    return c;
  }

  Outcome start(Start function, std::string_view text, const luacell_compute_options *options) {
    detail::PrintingScope scope(get(), nullptr);
    return Outcome(detail::run(function, get(), text.data(), text.size(), options));
  }

  Outcome start(Start function, std::string_view text, const Values &args, std::string_view name, const Limits &limits) {
    auto list = detail::list_of(args);
    auto options = detail::sized<luacell_compute_options>();
    if (!name.empty()) {
      options.name = name.data();
      options.name_len = name.size();
    }
    options.args = list.get();
    options.limits = &limits;
    return start(function, text, &options);
  }

  using Begin = luacell_status (*)(luacell_sandbox *, const char *, size_t, const luacell_compute_options *, luacell_run **,
                                   luacell_error **);

  Run begin(Begin function, std::string_view text, const Values &args, const StartOptions &given) {
    auto list = detail::list_of(args);
    auto options = detail::sized<luacell_compute_options>();
    if (!given.name.empty()) {
      options.name = given.name.data();
      options.name_len = given.name.size();
    }
    if (!given.durable.empty()) {
      options.durable = given.durable.data();
      options.durable_len = given.durable.size();
    }
    options.args = list.get();
    options.limits = &given.limits;
    Interrupter ending = interrupter();
    luacell_run *run = nullptr;
    detail::PrintingScope scope(get(), nullptr);
    try {
      detail::check(function, get(), text.data(), text.size(), static_cast<const luacell_compute_options *>(&options), &run);
    } catch (...) {
      /* Where print threw, there is a run that has failed. */
      luacell_run_free(run);
      throw;
    }
    return Run(run, std::move(ending));
  }

  Value read(luacell_status (*function)(luacell_sandbox *, luacell_value **, luacell_error **)) const {
    luacell_value *value = nullptr;
    detail::check(function, get(), &value);
    return Value::adopt(value);
  }

  detail::Owned<luacell_sandbox, luacell_sandbox_free> sandbox_;
};

}  // namespace luacell

#endif
