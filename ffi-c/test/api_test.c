/* Running code, values, errors, limits, printing, what is used. */
#include <luacell.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

static void versions_and_names(void) {
  test_begin("versions and names of statuses");
  CHECK(strcmp(luacell_version(), LUACELL_VERSION) == 0);
  CHECK(strcmp(luacell_status_name(LUACELL_OK), "Ok") == 0);
  CHECK(strcmp(luacell_status_name(LUACELL_INSTRUCTION_LIMIT), "InstructionLimit") == 0);
  CHECK(strcmp(luacell_status_name(LUACELL_INTERNAL), "Internal") == 0);
  CHECK(luacell_status_name(LUACELL_INTERNAL + 1) == NULL);
  CHECK(luacell_status_name(-1) == NULL);
}

static void results_and_metrics(void) {
  test_begin("results, printed text, what was used");
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_outcome *outcome = run(sandbox, "print('hello') return 1 + 1, 'two', 2.5, true, nil");
  const luacell_values *values = luacell_outcome_values(outcome);
  int64_t integer = 0;
  double number = 0;
  bool truth = false;
  CHECK(luacell_values_len(values) == 5);
  CHECK(luacell_value_to_integer(luacell_outcome_value(outcome), &integer, NULL) == LUACELL_OK && integer == 2);
  CHECK(is_string(luacell_values_get(values, 1), "two"));
  CHECK(luacell_value_to_number(luacell_values_get(values, 2), &number, NULL) == LUACELL_OK && number == 2.5);
  CHECK(luacell_value_to_boolean(luacell_values_get(values, 3), &truth, NULL) == LUACELL_OK && truth);
  CHECK(luacell_value_type(luacell_values_get(values, 4)) == LUACELL_TYPE_NIL);
  CHECK(luacell_values_get(values, 5) == NULL);
  CHECK(is_text(luacell_outcome_output(outcome), "hello\n"));
  luacell_metrics metrics = {.size = sizeof metrics};
  CHECK(luacell_outcome_metrics(outcome, &metrics, NULL) == LUACELL_OK);
  CHECK(metrics.size == sizeof metrics && metrics.wall_time_ns > 0 && metrics.instructions > 0 && metrics.peak_memory > 0);
  CHECK(metrics.host_calls == 0);
  luacell_outcome_free(outcome);
  CHECK(luacell_compute(sandbox, "x = 1", 5, NULL, NULL, NULL) == LUACELL_OK); /* nobody wants the outcome */
  luacell_sandbox_free(sandbox);
}

static void arguments_and_calls(void) {
  test_begin("arguments, names of chunks, calls");
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_values *args = luacell_values_new();
  luacell_values_push_integer(args, 20, NULL);
  luacell_values_push_float(args, 0.5, NULL);
  luacell_values_push_string(args, "a\0b", 3, NULL);
  luacell_values_push_boolean(args, true, NULL);
  luacell_values_push_nil(args, NULL);
  luacell_compute_options options = {.size = sizeof options, .args = args, .name = "=rules", .name_len = 6};
  luacell_outcome *outcome = NULL;
  const char *source = "local a, b, c, d, e = ... return a * b, #c, d, e, select('#', ...)";
  CHECK(luacell_compute(sandbox, source, strlen(source), &options, &outcome, NULL) == LUACELL_OK);
  CHECK(is_integer(luacell_outcome_value(outcome), 10));
  CHECK(is_integer(luacell_values_get(luacell_outcome_values(outcome), 1), 3));
  CHECK(is_integer(luacell_values_get(luacell_outcome_values(outcome), 4), 5));
  luacell_outcome_free(outcome);
  luacell_outcome_free(run(sandbox, "game = {add = function(a, b) return a + b end} return game"));
  CHECK(luacell_call(sandbox, "game.add", 8, &options, &outcome, NULL) == LUACELL_OK);
  CHECK(luacell_value_type(luacell_outcome_value(outcome)) == LUACELL_TYPE_FLOAT);
  luacell_outcome_free(outcome);
  fails(luacell_call(sandbox, "game.gone", 9, NULL, &outcome, &last), LUACELL_RUNTIME, "gone");
  outcome = run(sandbox, "return function(...) return select('#', ...) end");
  luacell_outcome *called = NULL;
  CHECK(luacell_function_call(luacell_outcome_value(outcome), args, &called, NULL) == LUACELL_OK);
  CHECK(is_integer(luacell_outcome_value(called), 5));
  luacell_outcome_free(called);
  fails(luacell_function_call(luacell_values_get(args, 0), NULL, NULL, &last), LUACELL_CONVERSION, "function expected");
  luacell_sandbox_free(sandbox);
  fails(luacell_function_call(luacell_outcome_value(outcome), args, NULL, &last), LUACELL_CLOSED, "");
  luacell_outcome_free(outcome);
  luacell_values_free(args);
}

static void errors(void) {
  test_begin("errors carry all that is known");
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_compute_options options = {.size = sizeof options, .name = "=demo", .name_len = 5};
  const char *source = "print('before')\nlocal t = nil\nreturn t.x";
  luacell_outcome *outcome = (luacell_outcome *)1;
  luacell_error *error = NULL;
  CHECK(luacell_compute(sandbox, source, strlen(source), &options, &outcome, &error) == LUACELL_RUNTIME);
  CHECK(outcome == (luacell_outcome *)1, "an output was written");
  CHECK(luacell_error_status(error) == LUACELL_RUNTIME);
  CHECK(is_text(luacell_error_message(error), "demo:3: attempt to index a nil value (local 't')"));
  CHECK(is_text(luacell_error_chunk(error), "demo"));
  CHECK(luacell_error_line(error) == 3);
  CHECK(luacell_error_traceback(error).len > 0);
  CHECK(is_text(luacell_error_output(error), "before\n"));
  CHECK(luacell_value_type(luacell_error_value(error)) == LUACELL_TYPE_NIL);
  CHECK(luacell_error_userdata(error) == NULL);
  luacell_metrics metrics = {.size = sizeof metrics};
  CHECK(luacell_error_metrics(error, &metrics, NULL) == LUACELL_OK && metrics.instructions > 0);
  luacell_error_free(error);
  error = NULL;
  CHECK(luacell_compute(sandbox, "error({code = 7})", 17, NULL, NULL, &error) == LUACELL_RUNTIME);
  luacell_value *code = NULL;
  CHECK(luacell_table_get_field(luacell_error_value(error), "code", 4, &code, NULL) == LUACELL_OK);
  CHECK(is_integer(code, 7));
  luacell_value_free(code);
  luacell_error_free(error);
  fails(luacell_compute(sandbox, "return +", 8, NULL, NULL, &last), LUACELL_SYNTAX, "unexpected symbol");
  luacell_sandbox_free(sandbox);
}

static void nothing_where_something_is_needed(void) {
  test_begin("NULL gives a status, not a crash");
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_outcome *outcome = NULL;
  luacell_value *value = NULL;
  size_t count = 0;
  CHECK(luacell_compute(NULL, "", 0, NULL, NULL, NULL) == LUACELL_INVALID_ARGUMENT);
  fails(luacell_compute(NULL, "", 0, NULL, &outcome, &last), LUACELL_INVALID_ARGUMENT, "sandbox is NULL");
  fails(luacell_compute(sandbox, NULL, 3, NULL, &outcome, &last), LUACELL_INVALID_ARGUMENT, "source is NULL");
  CHECK(luacell_compute(sandbox, NULL, 0, NULL, NULL, NULL) == LUACELL_OK);
  fails(luacell_sandbox_new(NULL, NULL, NULL, &last), LUACELL_INVALID_ARGUMENT, "sandbox is NULL");
  fails(luacell_sandbox_home(sandbox, NULL, &last), LUACELL_INVALID_ARGUMENT, "value is NULL");
  fails(luacell_sandbox_home(NULL, &value, &last), LUACELL_INVALID_ARGUMENT, "sandbox is NULL");
  fails(luacell_register(sandbox, "f", 1, NULL, NULL, NULL, &last), LUACELL_INVALID_ARGUMENT, "function is NULL");
  fails(luacell_table_get(NULL, NULL, &value, &last), LUACELL_INVALID_ARGUMENT, "table is NULL");
  fails(luacell_table_count(NULL, &count, &last), LUACELL_INVALID_ARGUMENT, "table is NULL");
  fails(luacell_outcome_metrics(NULL, NULL, &last), LUACELL_INVALID_ARGUMENT, "outcome is NULL");
  fails(luacell_store_new(NULL, NULL, &last), LUACELL_INVALID_ARGUMENT, "luacell_table_store is NULL");
  fails(luacell_snapshot_to_bytes(NULL, &value, &last), LUACELL_INVALID_ARGUMENT, "snapshot is NULL");
  fails(luacell_sandbox_restore(sandbox, NULL, &last), LUACELL_INVALID_ARGUMENT, "snapshot is NULL");
  fails(luacell_sink_put(NULL, "", 0, &last), LUACELL_INVALID_ARGUMENT, "sink is NULL");
  int64_t integer = 5;
  fails(luacell_value_to_integer(NULL, &integer, &last), LUACELL_CONVERSION, "integer expected, got nil");
  CHECK(integer == 5);
  CHECK(luacell_outcome_values(NULL) == NULL && luacell_outcome_value(NULL) == NULL);
  CHECK(luacell_outcome_output(NULL).data == NULL && luacell_error_message(NULL).data == NULL);
  CHECK(luacell_values_len(NULL) == 0 && luacell_values_get(NULL, 0) == NULL);
  CHECK(luacell_value_type(NULL) == LUACELL_TYPE_NIL && luacell_value_new_string(NULL, 1) == NULL);
  CHECK(luacell_error_status(NULL) == LUACELL_OK && luacell_error_line(NULL) == 0);
  luacell_sandbox_interrupt(NULL), luacell_interrupter_interrupt(NULL);
  luacell_sandbox_free(NULL), luacell_engine_free(NULL), luacell_value_free(NULL), luacell_values_free(NULL);
  luacell_outcome_free(NULL), luacell_error_free(NULL), luacell_store_free(NULL), luacell_snapshot_free(NULL);
  luacell_interrupter_free(NULL), luacell_table_builder_free(NULL);
  luacell_canceller_cancel(NULL), luacell_canceller_free(NULL);
  luacell_sandbox_free(sandbox);
}

static void closed(void) {
  test_begin("a closed sandbox says so");
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_value *home = NULL, *value = NULL;
  CHECK(luacell_sandbox_home(sandbox, &home, NULL) == LUACELL_OK);
  CHECK(luacell_sandbox_close(sandbox, NULL) == LUACELL_OK);
  CHECK(luacell_sandbox_close(sandbox, NULL) == LUACELL_OK);
  fails(luacell_compute(sandbox, "", 0, NULL, NULL, &last), LUACELL_CLOSED, "");
  fails(luacell_sandbox_gc(sandbox, &last), LUACELL_CLOSED, "");
  fails(luacell_table_get_field(home, "x", 1, &value, &last), LUACELL_CLOSED, "");
  luacell_value_free(home);
  luacell_sandbox_free(sandbox);
}

static void sized_structs(void) {
  test_begin("structs may be shorter or longer than the library's");
  luacell_limits limits;
  memset(&limits, 0xee, sizeof limits); /* what an old program does not know is not read */
  limits.size = offsetof(luacell_limits, instruction_limit);
  limits.memory_limit = 0;
  luacell_sandbox_config config = {.size = sizeof config, .limits = &limits};
  luacell_sandbox *sandbox = new_sandbox(&config);
  luacell_outcome_free(run(sandbox, "for i = 1, 10000 do end"));
  luacell_sandbox_free(sandbox);
  struct {
    luacell_limits known;
    uint64_t unknown;
  } longer = {{.size = sizeof longer}, 0};
  config.limits = &longer.known;
  luacell_sandbox_free(new_sandbox(&config));
  longer.unknown = 1;
  fails(luacell_sandbox_new(NULL, &config, &sandbox, &last), LUACELL_INVALID_ARGUMENT, "does not know");
  longer.known.size = 0;
  fails(luacell_sandbox_new(NULL, &config, &sandbox, &last), LUACELL_INVALID_ARGUMENT, "sizeof luacell_limits");
  struct {
    luacell_metrics known;
    uint64_t unknown;
  } metrics = {{.size = sizeof metrics}, 77};
  sandbox = new_sandbox(NULL);
  luacell_outcome *outcome = run(sandbox, "return 1");
  CHECK(luacell_outcome_metrics(outcome, &metrics.known, NULL) == LUACELL_OK);
  CHECK(metrics.unknown == 0 && metrics.known.size == sizeof metrics && metrics.known.instructions > 0);
  luacell_outcome_free(outcome);
  luacell_sandbox_free(sandbox);
}

static void count_end(void *userdata) { ++*(int *)userdata; }
static void no_print(void *userdata, const char *text, size_t len) { (void)userdata, (void)text, (void)len; }

static void finalizers_of_refused_structs(void) {
  test_begin("finalizers run also when a struct is refused");
  struct {
    luacell_sandbox_config known;
    uint64_t unknown;
  } longer = {{.size = sizeof longer}, 1};
  size_t sizes[] = {0, 3, sizeof longer, 100000, SIZE_MAX};
  luacell_sandbox *sandbox = NULL, *other = new_sandbox(NULL);
  luacell_snapshot *snapshot = NULL;
  luacell_store *store = NULL;
  CHECK(luacell_sandbox_snapshot(other, &snapshot, NULL) == LUACELL_OK);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int ended = 0;
    longer.known = (luacell_sandbox_config){.size = sizes[i], .print = no_print, .print_userdata = &ended, .print_finalizer = count_end,
                                            .find_module_userdata = &ended, .find_module_finalizer = count_end};
    fails(luacell_sandbox_new(NULL, &longer.known, &sandbox, &last), LUACELL_INVALID_ARGUMENT, "luacell_sandbox_config");
    CHECK(ended == 2);
    fails(luacell_sandbox_new_from_snapshot(NULL, snapshot, &longer.known, &sandbox, &last), LUACELL_INVALID_ARGUMENT, "luacell_sandbox_config");
    CHECK(ended == 4);
    struct {
      luacell_table_store known;
      uint64_t unknown;
    } functions = {{.size = sizes[i] == sizeof longer ? sizeof functions : sizes[i], .userdata = &ended, .finalizer = count_end}, 1};
    fails(luacell_store_new(&functions.known, &store, &last), LUACELL_INVALID_ARGUMENT, "luacell_table_store");
    CHECK(ended == 5);
  }
  luacell_snapshot_free(snapshot);
  luacell_sandbox_free(other);
}

static void *compute_here(void *sandbox) {
  luacell_error *error = NULL;
  const char *source = "local function f() return (string.gsub('x', 'x', function() return pcall(f) end)) end return f()";
  luacell_compute(sandbox, source, strlen(source), NULL, NULL, &error);
  return error;
}

static void engines_and_threads(void) {
  test_begin("settings of an engine have their range, and threads need stack enough");
  luacell_engine *engine = NULL;
  uint64_t wrong_memory[] = {1, 65536, (2 << 20) - 1, (UINT64_C(4) << 30) + 1, LUACELL_UNLIMITED, LUACELL_ZERO};
  uint64_t wrong_stack[] = {1, 65535, 1536 * 1024 + 1, LUACELL_UNLIMITED, LUACELL_ZERO};
  for (size_t i = 0; i < sizeof wrong_memory / sizeof *wrong_memory; i++) {
    luacell_engine_config config = {.size = sizeof config, .max_memory = wrong_memory[i], .pool_size = LUACELL_ZERO};
    fails(luacell_engine_new(&config, &engine, &last), LUACELL_INVALID_ARGUMENT, "max_memory");
  }
  for (size_t i = 0; i < sizeof wrong_stack / sizeof *wrong_stack; i++) {
    luacell_engine_config config = {.size = sizeof config, .max_stack = wrong_stack[i], .pool_size = LUACELL_ZERO};
    fails(luacell_engine_new(&config, &engine, &last), LUACELL_INVALID_ARGUMENT, "max_stack");
  }
  luacell_engine_config least = {.size = sizeof least, .max_memory = 2 << 20, .max_stack = 64 << 10, .pool_size = LUACELL_ZERO};
  luacell_engine_config most = {.size = sizeof most, .max_memory = UINT64_C(4) << 30, .max_stack = 1536 << 10, .pool_size = LUACELL_ZERO};
  CHECK(luacell_engine_new(&least, &engine, NULL) == LUACELL_OK);
  luacell_engine_free(engine);
  CHECK(luacell_engine_new(&most, &engine, NULL) == LUACELL_OK);
  luacell_engine_free(engine);
  luacell_sandbox *sandbox = new_sandbox(NULL);
  size_t sizes[] = {128 << 10, 256 << 10, 512 << 10, 2 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    pthread_attr_t attributes;
    pthread_t thread;
    void *result = NULL;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, sizes[i]) == 0);
    CHECK(pthread_create(&thread, &attributes, compute_here, sandbox) == 0 && pthread_join(thread, &result) == 0);
    pthread_attr_destroy(&attributes);
    luacell_error *error = result;
    CHECK(luacell_error_status(error) == (sizes[i] < 1 << 20 ? LUACELL_INVALID_ARGUMENT : LUACELL_OK));
    luacell_error_free(error);
  }
  luacell_sandbox_free(sandbox);
}

static void values_and_tables(void) {
  test_begin("values and tables, both ways");
  luacell_value *table = luacell_value_new_table(), *key = luacell_value_new_float(1.5), *text = luacell_value_new_string("a", 1);
  luacell_value *value = NULL, *copy = NULL;
  luacell_values *entries = NULL;
  size_t count = 0;
  CHECK(luacell_table_set(table, key, text, NULL) == LUACELL_OK);
  CHECK(luacell_table_set_field(table, "name", 4, key, NULL) == LUACELL_OK);
  CHECK(luacell_table_push(table, text, NULL) == LUACELL_OK);
  CHECK(luacell_table_count(table, &count, NULL) == LUACELL_OK && count == 3);
  CHECK(luacell_table_entries(table, &entries, NULL) == LUACELL_OK && luacell_values_len(entries) == 6);
  CHECK(luacell_table_get(table, key, &value, NULL) == LUACELL_OK && is_string(value, "a"));
  luacell_value_free(value);
  copy = luacell_value_clone(table);
  CHECK(luacell_value_equal(table, copy));
  CHECK(luacell_table_set(copy, key, NULL, NULL) == LUACELL_OK);
  CHECK(!luacell_value_equal(table, copy), "a change shows in the other one");
  fails(luacell_table_set(table, NULL, text, &last), LUACELL_INVALID_ARGUMENT, "");
  fails(luacell_table_push(text, text, &last), LUACELL_CONVERSION, "table by value expected, got string");
  CHECK(luacell_table_clear(copy, NULL) == LUACELL_OK);
  CHECK(luacell_table_count(copy, &count, NULL) == LUACELL_OK && count == 0);
  luacell_values_free(entries);

  luacell_table_builder *builder = luacell_table_builder_new();
  uint32_t outer = 9, inner = 9;
  CHECK(luacell_table_builder_add(builder, &outer, NULL) == LUACELL_OK);
  CHECK(luacell_table_builder_add(builder, &inner, NULL) == LUACELL_OK);
  CHECK(luacell_table_builder_set_table(builder, outer, text, inner, NULL) == LUACELL_OK);
  CHECK(luacell_table_builder_set_table(builder, inner, text, outer, NULL) == LUACELL_OK);
  CHECK(luacell_table_builder_set_with_table_key(builder, outer, inner, text, NULL) == LUACELL_OK);
  fails(luacell_table_builder_set(builder, 7, text, text, &last), LUACELL_INVALID_ARGUMENT, "no table 7");
  luacell_value *cycle = NULL;
  CHECK(luacell_table_builder_finish(builder, outer, &cycle, NULL) == LUACELL_OK);
  luacell_table_builder_free(builder);
  luacell_sandbox *sandbox = new_sandbox(NULL);
  CHECK(luacell_sandbox_set_input(sandbox, table, NULL) == LUACELL_OK);
  luacell_outcome_free(run(sandbox, "assert(_io.input.name == 1.5 and _io.input[1] == 'a') _io.output = {7} _io.meta = 'm'"));
  CHECK(luacell_sandbox_output(sandbox, &value, NULL) == LUACELL_OK);
  CHECK(luacell_value_type(value) == LUACELL_TYPE_STORED_TABLE);
  luacell_value_free(value);
  CHECK(luacell_sandbox_meta(sandbox, &value, NULL) == LUACELL_OK && is_string(value, "m"));
  luacell_value_free(value);
  CHECK(luacell_sandbox_clear_io(sandbox, NULL) == LUACELL_OK);
  CHECK(luacell_sandbox_input(sandbox, &value, NULL) == LUACELL_OK && luacell_value_type(value) == LUACELL_TYPE_NIL);
  luacell_value_free(value);
  luacell_values *args = luacell_values_new();
  luacell_values_push(args, cycle, NULL);
  luacell_compute_options options = {.size = sizeof options, .args = args};
  luacell_outcome *outcome = NULL;
  const char *source = "local t = ... return t.a.a == t, t[t.a], t, t, string.format";
  CHECK(luacell_compute(sandbox, source, strlen(source), &options, &outcome, NULL) == LUACELL_OK);
  const luacell_values *results = luacell_outcome_values(outcome);
  bool truth = false;
  CHECK(luacell_value_to_boolean(luacell_outcome_value(outcome), &truth, NULL) == LUACELL_OK && truth);
  CHECK(is_string(luacell_values_get(results, 1), "a"));
  CHECK(luacell_value_same_table(luacell_values_get(results, 2), luacell_values_get(results, 3)));
  CHECK(is_text(luacell_value_builtin_name(luacell_values_get(results, 4)), "string.format"));
  luacell_outcome_free(outcome);
  luacell_values_free(args);
  luacell_sandbox_free(sandbox);
  luacell_value_free(table), luacell_value_free(key), luacell_value_free(text), luacell_value_free(copy), luacell_value_free(cycle);
}

static void hostile_values(void) {
  test_begin("values of a script that are nested, shared and named as no program would");
  static const char *const sources[] = {
      "for _ = 1, 300000 do t = {t} end",
      "for _ = 1, 300000 do t = {[t] = t} end",
      "for _ = 1, 100 do t = {t, t, [t] = {t}} end",
      "t[1] = t t[t] = t",
      "t['a\\0b'] = 'c\\0d' t[''] = '' t[('k'):rep(1 << 20)] = 1",
  };
  luacell_sandbox *sandbox = new_sandbox(NULL);
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    char source[200];
    snprintf(source, sizeof source, "t = {} %s return t", sources[i]);
    luacell_outcome *outcome = run(sandbox, source), *again = run(sandbox, source);
    luacell_value *copy = luacell_value_clone(luacell_outcome_value(outcome));
    luacell_outcome_free(outcome);
    CHECK(luacell_value_equal(copy, copy) && luacell_value_equal(copy, luacell_outcome_value(again)), "%s", source);
    luacell_outcome_free(again);
    luacell_value *part = NULL;
    CHECK(luacell_table_get_field(copy, "a\0b", 3, &part, NULL) == LUACELL_OK);
    luacell_value_free(part);
    luacell_values *args = luacell_values_new();
    for (int n = 0; n < 3; n++) CHECK(luacell_values_push(args, copy, NULL) == LUACELL_OK);
    luacell_compute_options options = {.size = sizeof options, .args = args};
    CHECK(luacell_compute(sandbox, "local a, b = ... assert(type(a) == 'table')", 43, &options, NULL, NULL) == LUACELL_OK);
    luacell_values_free(args);
    luacell_value_free(copy);
    luacell_error *error = NULL;
    CHECK(luacell_compute(sandbox, "error(t)", 8, NULL, NULL, &error) == LUACELL_RUNTIME);
    CHECK(luacell_value_type(luacell_error_value(error)) == LUACELL_TYPE_TABLE);
    luacell_error_free(error);
  }
  fails(compute(sandbox, "error('a\0b')"), LUACELL_SYNTAX, "");
  luacell_error *error = NULL;
  CHECK(luacell_compute(sandbox, "error('a\\0b', 0)", 16, NULL, NULL, &error) == LUACELL_RUNTIME);
  CHECK(luacell_error_message(error).len == 3);
  luacell_error_free(error);
  luacell_sandbox_free(sandbox);
}

static void limits(void) {
  test_begin("limits of a sandbox and of a run");
  luacell_limits limits = {.size = sizeof limits, .instruction_limit = 100000, .output_limit = 100, .memory_limit = 4 << 20};
  luacell_sandbox_config config = {.size = sizeof config, .limits = &limits};
  luacell_sandbox *sandbox = new_sandbox(&config);
  fails(compute(sandbox, "while true do end"), LUACELL_INSTRUCTION_LIMIT, "");
  fails(compute(sandbox, "print(('x'):rep(200))"), LUACELL_OUTPUT_LIMIT, "");
  fails(compute(sandbox, "return ('x'):rep(1 << 24)"), LUACELL_MEMORY, "not enough memory");
  luacell_limits none = {.size = sizeof none, .instruction_limit = LUACELL_UNLIMITED, .host_call_limit = LUACELL_ZERO, .timeout_ms = 1};
  luacell_compute_options options = {.size = sizeof options, .limits = &none};
  const char *source = "while true do end";
  fails(luacell_compute(sandbox, source, strlen(source), &options, NULL, &last), LUACELL_TIMEOUT, "");
  luacell_outcome_free(run(sandbox, "return 1"));
  luacell_sandbox_free(sandbox);
}

static void collect(void *userdata, const char *text, size_t len) {
  char *all = userdata;
  strncat(all, text, len);
  strcat(all, "|");
}

static void finalize(void *userdata) {
  strcat(userdata, "end");
}

static void printing(void) {
  test_begin("print goes to a callback");
  char all[100] = "";
  luacell_sandbox_config config = {.size = sizeof config, .print = collect, .print_userdata = all, .print_finalizer = finalize};
  luacell_sandbox *sandbox = new_sandbox(&config);
  luacell_outcome *outcome = run(sandbox, "print('a', 1) print('b')");
  CHECK(luacell_outcome_output(outcome).len == 0);
  CHECK(strcmp(all, "a\t1\n|b\n|") == 0, "%s", all);
  luacell_outcome_free(outcome);
  luacell_sandbox_free(sandbox);
  CHECK(strcmp(all, "a\t1\n|b\n|end") == 0, "%s", all);
  config.location = "x"; /* fails, and ends the userdata nevertheless */
  config.location_len = 1;
  config.store = (const luacell_store *)all;
  CHECK(luacell_sandbox_new(NULL, &config, &sandbox, NULL) == LUACELL_INVALID_ARGUMENT);
  CHECK(strcmp(all, "a\t1\n|b\n|endend") == 0, "%s", all);
}

static luacell_status module(void *userdata, const char *name, size_t name_len, luacell_sink *source, luacell_error **error) {
  (void)userdata;
  if (name_len == 3 && memcmp(name, "one", 3) == 0) return luacell_sink_put(source, "return {n = 1}", 14, error);
  if (name_len == 3 && memcmp(name, "bad", 3) == 0) {
    *error = luacell_error_new("no disk", 7, NULL, NULL);
    return LUACELL_STORE;
  }
  return LUACELL_OK;
}

static void modules(void) {
  test_begin("require asks a callback, or a folder");
  luacell_sandbox_config config = {.size = sizeof config, .find_module = module};
  luacell_sandbox *sandbox = new_sandbox(&config);
  luacell_outcome *outcome = run(sandbox, "return require('one').n, pcall(require, 'none')");
  CHECK(is_integer(luacell_outcome_value(outcome), 1));
  luacell_outcome_free(outcome);
  fails(compute(sandbox, "require('bad')"), LUACELL_HOST_FUNCTION, "no disk");
  luacell_sandbox_free(sandbox);
}

static void engines_and_determinism(void) {
  test_begin("engines, and sandboxes that do the same each time");
  luacell_engine_config engine_config = {.size = sizeof engine_config, .pool_size = 2};
  luacell_engine *engine = NULL;
  CHECK(luacell_engine_new(&engine_config, &engine, NULL) == LUACELL_OK);
  luacell_sandbox_config config = {.size = sizeof config, .deterministic = true, .seed = 7};
  luacell_sandbox *a = NULL, *b = NULL;
  CHECK(luacell_sandbox_new(engine, &config, &a, NULL) == LUACELL_OK);
  CHECK(luacell_sandbox_new(NULL, &config, &b, NULL) == LUACELL_OK);
  luacell_engine_free(engine);
  luacell_outcome *first = run(a, "return math.random(1 << 40), os.time()"), *second = run(b, "return math.random(1 << 40), os.time()");
  for (size_t i = 0; i < 2; i++)
    CHECK(luacell_value_equal(luacell_values_get(luacell_outcome_values(first), i), luacell_values_get(luacell_outcome_values(second), i)));
  luacell_memory_stats stats = {.size = sizeof stats};
  CHECK(luacell_sandbox_memory_stats(a, &stats, NULL) == LUACELL_OK && stats.lua_bytes > 0 && stats.wasm_bytes >= stats.lua_bytes);
  luacell_outcome_free(first), luacell_outcome_free(second);
  luacell_sandbox_free(a), luacell_sandbox_free(b);
}

typedef struct Meeting {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int stage;
} Meeting;

static void reach(Meeting *meeting, int stage) {
  pthread_mutex_lock(&meeting->mutex);
  meeting->stage = stage;
  pthread_cond_broadcast(&meeting->changed);
  pthread_mutex_unlock(&meeting->mutex);
}

static void wait_for(Meeting *meeting, int stage) {
  pthread_mutex_lock(&meeting->mutex);
  while (meeting->stage < stage) pthread_cond_wait(&meeting->changed, &meeting->mutex);
  pthread_mutex_unlock(&meeting->mutex);
}

static luacell_status meet(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)args, (void)results, (void)error;
  reach(userdata, 1);
  wait_for(userdata, 2);
  return LUACELL_OK;
}

static void *run_meeting(void *sandbox) {
  return (void *)(intptr_t)luacell_compute(sandbox, "meet()", 6, NULL, NULL, NULL);
}

static void a_second_thread(void) {
  test_begin("a second thread in one sandbox is told that it is busy");
  Meeting meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
  luacell_sandbox *sandbox = new_sandbox(NULL);
  pthread_t thread;
  void *status = NULL;
  CHECK(luacell_register(sandbox, "meet", 4, meet, &meeting, NULL, NULL) == LUACELL_OK);
  CHECK(pthread_create(&thread, NULL, run_meeting, sandbox) == 0);
  wait_for(&meeting, 1);
  fails(compute(sandbox, "return 1"), LUACELL_BUSY, "");
  fails(luacell_sandbox_gc(sandbox, &last), LUACELL_BUSY, "");
  reach(&meeting, 2);
  pthread_join(thread, &status);
  CHECK((intptr_t)status == LUACELL_OK);
  luacell_outcome_free(run(sandbox, "return 1"));
  luacell_sandbox_free(sandbox);
}

/* Told of the run and by it. */
typedef struct Running {
  Meeting meeting;
  luacell_sandbox *sandbox;
  luacell_canceller *canceller;
  luacell_status status;
  int ended;
} Running;

static luacell_status begun(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)args, (void)results, (void)error;
  reach(&((Running *)userdata)->meeting, 1);
  return LUACELL_OK;
}

/* Time for the run to be wherever it may be. */
static void a_while(int round) {
  for (volatile int i = 0; i < round * 200; i++) continue;
}

static void finished(void *userdata) {
  __atomic_store_n(&((Running *)userdata)->ended, 1, __ATOMIC_SEQ_CST);
}

static void *run_on(void *userdata) {
  Running *running = userdata;
  luacell_compute_options options = {.size = sizeof options, .canceller = running->canceller};
  const char *source = running->canceller == NULL ? "begun() for i = 1, 20000 do end" : "begun() while true do pcall(error) end";
  running->status = luacell_compute(running->sandbox, source, strlen(source), &options, NULL, NULL);
  return NULL;
}

static void begin(Running *running, pthread_t *thread, bool endless) {
  *running = (Running){.meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}, .sandbox = new_sandbox(NULL)};
  running->canceller = endless ? luacell_canceller_new() : NULL;
  CHECK(luacell_register(running->sandbox, "begun", 5, begun, running, finished, NULL) == LUACELL_OK);
  CHECK(pthread_create(thread, NULL, run_on, running) == 0);
  wait_for(&running->meeting, 1);
}

static void closing(void) {
  test_begin("when a sandbox was closed no run is left, and it can be freed");
  for (int round = 0; round < 100; round++) {
    Running running;
    pthread_t thread;
    begin(&running, &thread, false);
    a_while(round);
    CHECK(luacell_sandbox_close(running.sandbox, NULL) == LUACELL_OK);
    CHECK(__atomic_load_n(&running.ended, __ATOMIC_SEQ_CST) == 1);
    luacell_sandbox_free(running.sandbox);
    pthread_join(thread, NULL);
    CHECK(running.status == LUACELL_OK, "a run comes to its end");
  }
}

static void cancelling(void) {
  test_begin("a run that was cancelled or interrupted makes nobody busy");
  for (int round = 0; round < 100; round++) {
    Running running;
    pthread_t thread;
    begin(&running, &thread, true);
    a_while(round);
    if (round % 2 == 0) luacell_canceller_cancel(running.canceller);
    else luacell_sandbox_interrupt(running.sandbox);
    luacell_outcome_free(run(running.sandbox, "return 1"));
    pthread_join(thread, NULL);
    CHECK(running.status == LUACELL_INTERRUPTED);
    luacell_compute_options options = {.size = sizeof options, .canceller = running.canceller};
    luacell_status status = luacell_compute(running.sandbox, "", 0, &options, NULL, NULL);
    CHECK(status == (round % 2 == 0 ? LUACELL_INTERRUPTED : LUACELL_OK));
    luacell_canceller_free(running.canceller);
    luacell_sandbox_free(running.sandbox);
  }
}

static luacell_status close_it(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)args, (void)results;
  return luacell_sandbox_close(userdata, error);
}

static void closing_within(void) {
  test_begin("a host function closes its sandbox when the run has ended");
  luacell_sandbox *sandbox = new_sandbox(NULL);
  CHECK(luacell_register(sandbox, "close_it", 8, close_it, sandbox, NULL, NULL) == LUACELL_OK);
  luacell_outcome *outcome = run(sandbox, "close_it() return 7");
  CHECK(is_integer(luacell_outcome_value(outcome), 7));
  luacell_outcome_free(outcome);
  fails(compute(sandbox, "return 1"), LUACELL_CLOSED, "");
  luacell_sandbox_free(sandbox);
}

int main(void) {
  versions_and_names();
  results_and_metrics();
  arguments_and_calls();
  errors();
  nothing_where_something_is_needed();
  closed();
  sized_structs();
  finalizers_of_refused_structs();
  engines_and_threads();
  values_and_tables();
  hostile_values();
  limits();
  printing();
  modules();
  engines_and_determinism();
  a_second_thread();
  closing();
  cancelling();
  closing_within();
  return tests_end();
}
