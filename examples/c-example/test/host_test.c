/* The host by its parts. The argument is the program whose tour is compared. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"
#include "vm.h"

static Module *lua, *hostile;

/* ---- helpers ---- */

typedef struct Box {
  Tables *tables;
  Vm *vm;
} Box;

static Box open_box(Module *module, int revision) {
  char problem[128];
  Box box = {tables_new(), NULL};
  box.vm = vm_new(module, box.tables, 0, revision, problem, sizeof problem);
  if (!CHECK(box.vm != NULL, "%s", problem)) exit(tests_end());
  return box;
}

static void close_box(Box *box) {
  vm_free(box->vm);
  tables_free(box->tables);
}

static Result compute(Vm *vm, const char *source) {
  return vm_compute(vm, source, strlen(source));
}

/* Whether a value is the string. */
static bool is_string(const Value *value, const char *text, size_t length) {
  return value->kind == VALUE_STRING && value->text.length == length && memcmp(value->text.data, text, length) == 0;
}

/* Runs source and compares its values, as message_show writes them. */
static void expect(Vm *vm, const char *source, const char *want) {
  char *shown = NULL;
  size_t length = 0;
  Result result = compute(vm, source);
  FILE *out = open_memstream(&shown, &length);
  message_show(out, &result.values);
  fclose(out);
  CHECK(result.status == VM_OK, "%.100s: %s %s", source, vm_status_text(result.status), (char *)result.text);
  CHECK(strcmp(shown, want) == 0, "%.100s: %s, expected %s", source, shown, want);
  free(shown);
  result_free(&result);
}

static void run(Vm *vm, const char *source) {
  Result result = compute(vm, source);
  CHECK(result.status == VM_OK, "%.100s: %s %s", source, vm_status_text(result.status), (char *)result.text);
  result_free(&result);
}

/* Runs source, which must raise an error whose message ends in `end`. */
static void fails(Vm *vm, const char *source, const char *end) {
  Result result = compute(vm, source);
  CHECK(result.status == VM_LUA_ERROR, "%.100s: %s", source, vm_status_text(result.status));
  size_t length = strlen(end);
  bool same = result.text_length >= length && memcmp(result.text + result.text_length - length, end, length) == 0;
  CHECK(same, "%.100s: %s", source, (char *)result.text);
  result_free(&result);
}

/* ---- tests ---- */

static void basic_arithmetic(void) {
  Box box = open_box(lua, 1);
  expect(box.vm, "return 1 + 1, 7 // 2, 7 / 2, 2^10, 1 == 1.0", "2, 3, 3.5, 1024.0, true");
  expect(box.vm, "return math.maxinteger, math.mininteger", "9223372036854775807, -9223372036854775808");
  expect(box.vm, "return -0.0, 1/0", "-0.0, inf");
  Result result = compute(box.vm, "return 0/0");
  CHECK(result.values.count == 1 && isnan(result.values.values[0].number));
  result_free(&result);
  close_box(&box);
}

static void string_operations(void) {
  Box box = open_box(lua, 1);
  expect(box.vm, "return ('lua'):upper() .. '!'", "\"LUA!\"");
  expect(box.vm, "return ('%d-%s'):format(7, 'x')", "\"7-x\"");
  expect(box.vm, "return (('hello world'):gsub('o', '0'))", "\"hell0 w0rld\"");
  expect(box.vm, "return 'gr\xc3\xbc\xc3\x9f'", "\"gr\\xc3\\xbc\\xc3\\x9f\"");
  expect(box.vm, "return ''", "\"\"");
  Result result = compute(box.vm, "return 'a\\0\\255'");
  CHECK(result.values.count == 1 && is_string(&result.values.values[0], "a\0\xff", 3));
  result_free(&result);
  close_box(&box);
}

static void captured_output(void) {
  Box box = open_box(lua, 1);
  Result result = compute(box.vm, "print('a', 1) print() return 2");
  CHECK(strcmp((char *)result.text, "a\t1\n\n") == 0 && result.values.count == 1);
  result_free(&result);
  result = compute(box.vm, "");
  CHECK(result.status == VM_OK && result.text_length == 0 && result.values.count == 0);
  result_free(&result);
  close_box(&box);
}

static void external_table_persistence(void) {
  char problem[128];
  uint32_t next = 0, home = 0;
  Box box = open_box(lua, 1);
  run(box.vm, "_home.count = 1 _home.list = {'a', 'b'} _home.empty = {}");
  CHECK(vm_next_table_id(box.vm, &next) == VM_OK && next == 5, "%" PRIu32, next);
  vm_free(box.vm);

  box.vm = vm_new(lua, box.tables, next, 1, problem, sizeof problem);
  if (!CHECK(box.vm != NULL, "%s", problem)) return;
  expect(box.vm, "return _home.count, #_home.list, _home.list[2]", "1, 2, \"b\"");
  /* Without the counter the new table would be the one that `empty` refers to. */
  run(box.vm, "_home.fresh = {1}");
  expect(box.vm, "return #_home.empty", "0");

  CHECK(vm_home_table_id(box.vm, &home) == VM_OK);
  const TableEntry *count = tables_get(box.tables, home, "count", 5);
  CHECK(count != NULL && count->value_length == 9 && memcmp(count->value, "\x02\x01\0\0\0\0\0\0\0", 9) == 0);
  close_box(&box);
}

static void data_in_and_out(void) {
  uint32_t io = 0;
  Box box = open_box(lua, 1);
  CHECK(vm_io_table_id(box.vm, &io) == VM_OK);
  CHECK(tables_set(box.tables, io, "input", 5, "\x04\x03\0\0\0Ada", 8));
  run(box.vm, "_io.output = 'Hello, ' .. _io.input");
  const TableEntry *output = tables_get(box.tables, io, "output", 6);
  CHECK(output != NULL && output->value_length == 15 && memcmp(output->value, "\x04\x0a\0\0\0Hello, Ada", 15) == 0);
  close_box(&box);
}

static void error_handling(void) {
  static char spaces[65538];
  Message none = {0};
  Box box = open_box(lua, 1);
  for (int round = 0; round < 100; round++) {
    fails(box.vm, "return 1 +", "near <eof>");
    fails(box.vm, "error('no')", ":1: no");
    fails(box.vm, "error('a\\255', 0)", "a\xff");
    fails(box.vm, "local t = nil; return t.x", "(local 't')");
    expect(box.vm, "return 1 + 1", "2");
  }
  memset(spaces, ' ', sizeof spaces);
  Result result = vm_compute(box.vm, spaces, 65537);
  CHECK(result.status == VM_TOO_LARGE);
  result_free(&result);
  fails(box.vm, "return ('x'):rep(70000)", "(65536 at most)");
  CHECK(vm_call(box.vm, "f", &none).status == VM_REVISION);
  expect(box.vm, "return 1 + 1", "2");
  close_box(&box);

  char problem[128];
  CHECK(lua_module_load("no such file", problem, sizeof problem) == NULL && strstr(problem, "no such file") != NULL);
  CHECK(lua_module_load(__FILE__, problem, sizeof problem) == NULL);
}

static MemoryStats stats_of(Vm *vm) {
  MemoryStats stats = {0};
  CHECK(vm_memory_stats(vm, &stats) == VM_OK);
  CHECK(stats.buffer_size == 65536 && stats.pages * UINT64_C(65536) == vm_memory_size(vm));
  CHECK(stats.used > 0 && stats.used < vm_memory_size(vm));
  return stats;
}

static void memory_statistics(void) {
  Box box = open_box(lua, 1);
  MemoryStats before = stats_of(box.vm);
  run(box.vm, "kept = {} for i = 1, 300000 do kept[i] = i end");
  MemoryStats grown = stats_of(box.vm);
  CHECK(grown.pages > before.pages && grown.used > before.used + 300000 * 8);
  run(box.vm, "kept = nil");
  CHECK(vm_collect_garbage(box.vm) == VM_OK);
  CHECK(stats_of(box.vm).used < grown.used - 300000 * 8);
  close_box(&box);
}

static void revision_2(void) {
  Message args = {0};
  Box box = open_box(lua, 2);
  expect(box.vm, "local t = {10, x = 'y'} t.me = t return t.me.me[1], #t", "10, 1");

  Result table = compute(box.vm, "local t = {10} t.me = t return t");
  Result back = vm_compute_named(box.vm, "", "local t = ... return t, t.me == t", 33, &table.values);
  CHECK(back.status == VM_OK && back.values.count == 2 && back.values.table_count == 1, "%s", (char *)back.text);
  CHECK(back.values.values[1].boolean && back.values.tables[0].count == 4);
  result_free(&back);
  result_free(&table);

  run(box.vm, "function add(a, b) return a + b end");
  CHECK(message_add(&args, value_integer(1)) && message_add(&args, (Value){.kind = VALUE_FLOAT, .number = 2.5}));
  Result sum = vm_call(box.vm, "add", &args);
  CHECK(sum.status == VM_OK && sum.values.count == 1 && sum.values.values[0].number == 3.5);
  result_free(&sum);
  message_free(&args);

  char *text = malloc(1000001);
  memset(text, 'x', 1000000);
  text[1000000] = '\0';
  CHECK(message_add(&args, value_string(text)));
  Result longer = vm_compute_named(box.vm, "=rules", "_home.long = ... return ... .. 'y'", 34, &args);
  CHECK(longer.status == VM_OK && longer.values.count == 1 && longer.values.values[0].text.length == 1000001);
  result_free(&longer);
  message_free(&args);
  free(text);
  expect(box.vm, "return #_home.long", "1000000"); /* `get` asks for a larger buffer */

  Result error = vm_compute_named(box.vm, "=rules", "error('no')", 11, &args);
  CHECK(error.status == VM_LUA_ERROR && strcmp((char *)error.text, "rules:1: no") == 0);
  result_free(&error);
  CHECK(message_add(&args, (Value){.kind = VALUE_STORED_FUNCTION}));
  CHECK(vm_call(box.vm, "f", &args).status == VM_UNSENDABLE);
  message_free(&args);
  close_box(&box);
}

/* What the run waits for: id:name(args), each with a space behind it. */
static void asked(Vm *vm, const char *want) {
  char *shown = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&shown, &length);
  for (const Request *request = vm_requests(vm); request != NULL; request = request->next) {
    fprintf(out, "%" PRIu32 ":%s(", request->id, request->name);
    message_show(out, &request->args);
    fputs(") ", out);
  }
  fclose(out);
  CHECK(strcmp(shown, want) == 0, "it waits for %s, expected %s", shown, want);
  free(shown);
}

static VmStatus start_run(Vm *vm, const char *source) {
  Result result = vm_start(vm, source, strlen(source), &(Message){0});
  VmStatus status = result.status;
  result_free(&result);
  return status;
}

static void waits(Vm *vm, const char *source, const char *requests) {
  CHECK(start_run(vm, source) == VM_WAITS && vm_waiting(vm), "%.100s", source);
  asked(vm, requests);
}

/* The run goes on and ends with these values, or with an error whose message contains `want`. */
static void ends(Vm *vm, VmStatus status, const char *want) {
  char *shown = NULL;
  size_t length = 0;
  Result result = vm_resume(vm);
  FILE *out = open_memstream(&shown, &length);
  message_show(out, &result.values);
  fclose(out);
  CHECK(result.status == status && !vm_waiting(vm), "%s instead of %s", vm_status_text(result.status), want);
  if (status == VM_OK) CHECK(strcmp(shown, want) == 0, "%s, expected %s", shown, want);
  else CHECK(result.text != NULL && strstr((char *)result.text, want) != NULL, "%s, expected %s", (char *)result.text, want);
  free(shown);
  result_free(&result);
}

static VmStatus resume(Vm *vm) {
  Result result = vm_resume(vm);
  VmStatus status = result.status;
  result_free(&result);
  return status;
}

static void revision_3(void) {
  static char name[10001], source[10010];
  Message none = {0}, values = {0};
  Box box = open_box(lua, 3);
  Vm *vm = box.vm;
  CHECK(vm_declare(vm, "ask") == VM_OK && vm_declare(vm, "web.fetch") == VM_OK);

  waits(vm, "local first, second = ask('a', {1}) return first + second, #web.fetch('u')", "1:ask(\"a\", {[1] = 1}) ");
  CHECK(message_add(&values, value_integer(1)) && message_add(&values, value_integer(2)));
  CHECK(vm_answer(vm, 1, &values) == VM_OK && resume(vm) == VM_WAITS);
  message_free(&values);
  asked(vm, "2:web.fetch(\"u\") ");
  char *text = malloc(1000001);
  if (text == NULL) abort();
  memset(text, 'x', 1000000);
  text[1000000] = '\0';
  CHECK(message_add(&values, value_string(text)) && vm_answer(vm, 2, &values) == VM_OK);
  message_free(&values);
  free(text);
  ends(vm, VM_OK, "3, 1000000");

  /* Errors, of the script and of the host. */
  waits(vm, "return pcall(ask)", "1:ask() ");
  CHECK(vm_fail(vm, 1, "no answer") == VM_OK);
  ends(vm, VM_OK, "false, \"no answer\"");
  waits(vm, "ask() error('after', 0)", "1:ask() ");
  CHECK(vm_answer(vm, 1, &none) == VM_OK);
  ends(vm, VM_LUA_ERROR, "after");
  fails(vm, "ask()", "'ask' is answered by whoever starts the run");
  CHECK(start_run(vm, "table.sort({1, 2}, ask)") == VM_LUA_ERROR && !vm_waiting(vm));
  memset(name, 'a', sizeof name - 1); /* the message takes more room than the guest offers at first */
  snprintf(source, sizeof source, "%s()", name);
  CHECK(vm_declare(vm, name) == VM_OK);
  fails(vm, source, "a' is answered by whoever starts the run");
  CHECK(vm_declare(vm, "print.x") == VM_LUA_ERROR);

  /* Tasks, and a request that is given up. */
  waits(vm, "local task = require 'task' return task.race(function() return ask() end, function() task.sleep(0.5) return 'late' end)",
        "1:ask() 2:task.sleep(0.5) ");
  CHECK(vm_answer(vm, 2, &none) == VM_OK);
  ends(vm, VM_OK, "\"late\"");

  /* What can't be done now, and what the others of the same VM can do meanwhile. */
  waits(vm, "kept = 1 ask() kept = ask()", "1:ask() ");
  CHECK(start_run(vm, "return 1") == VM_NOT_NOW && vm_start_call(vm, "f", &none).status == VM_NOT_NOW);
  CHECK(vm_answer(vm, 2, &none) == VM_NOT_NOW);
  CHECK(message_add(&values, (Value){.kind = VALUE_STORED_FUNCTION}) && vm_answer(vm, 1, &values) == VM_UNSENDABLE);
  message_free(&values);
  expect(vm, "return kept", "1");
  fails(vm, "ask()", "inside a function that can't");
  CHECK(vm_answer(vm, 1, &none) == VM_OK && vm_fail(vm, 1, "again") == VM_NOT_NOW && resume(vm) == VM_WAITS);

  /* Nothing of the script runs any more. */
  CHECK(vm_answer(vm, 2, &none) == VM_OK && vm_cancel(vm) == VM_OK);
  expect(vm, "return kept", "1");
  waits(vm, "local c <close> = setmetatable({}, {__close = function() kept = 3 end}) repeat pcall(ask) until false", "1:ask() ");
  CHECK(vm_cancel(vm) == VM_OK && vm_cancel(vm) == VM_OK && !vm_waiting(vm));
  expect(vm, "return kept", "1");
  waits(vm, "local t = require('task').spawn(ask) function give_up() t:cancel() end pcall(t.wait, t) ask() kept = 4", "1:ask() ");
  Result gave_up = vm_call(vm, "give_up", &none);
  CHECK(gave_up.status == VM_OK);
  result_free(&gave_up);
  asked(vm, "");
  CHECK(vm_cancel(vm) == VM_OK);
  expect(vm, "return kept", "1");
  asked(vm, "");
  CHECK(resume(vm) == VM_NOT_NOW);

  /* A VM that is freed while a run waits in it. */
  waits(vm, "ask({}) return 1", "1:ask({}) ");
  close_box(&box);
  box = open_box(lua, 2);
  CHECK(vm_declare(box.vm, "ask") == VM_REVISION);
  close_box(&box);
}

static void keys(void) {
  static const char *const all[] = {"42", "-7", "'42'", "'007'", "'name'", "''", "'a\\nb'", "'\\\\x'", "'\\255'",
                                    "0.5", "1e300", "1/0", "-1/0", "true", "'\xc3\xa9'"};
  uint8_t scratch[64];
  char source[128];
  Box box = open_box(lua, 1);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    snprintf(source, sizeof source, "t = ext.table() t[%s] = true return t", all[i]);
    Result table = compute(box.vm, source);
    snprintf(source, sizeof source, "return %s", all[i]);
    Result want = compute(box.vm, source);
    const TableEntry *entry = tables_first(box.tables, table.values.values[0].id);
    Value key = key_decode(entry->key, entry->key_length, scratch);
    const Value *other = &want.values.values[0];
    bool same = key.kind == other->kind;
    if (same && key.kind == VALUE_STRING) same = is_string(&key, (const char *)other->text.data, other->text.length);
    else if (same && key.kind == VALUE_BOOLEAN) same = key.boolean == other->boolean;
    else if (same) same = key.integer == other->integer; /* a float's bits as well */
    CHECK(same, "%s", all[i]);
    result_free(&table);
    result_free(&want);
  }
  static const char *const plain[] = {"\\", "\\q", "\\f", "\\fx", "\\f0x1p4", "\\s\\", "\\s\\x1", "9223372036854775808", "-0",
                                      "\\bmaybe", ""};
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
    Value key = key_decode(plain[i], strlen(plain[i]), scratch);
    CHECK(is_string(&key, plain[i], strlen(plain[i])), "%s", plain[i]);
  }
  close_box(&box);
}

/* The hostile guest's answer is what stands in the source: what compute returns, and the buffer's content. */
static VmStatus answer(Vm *vm, int32_t n, const void *content, size_t length) {
  uint8_t source[64];
  uint32_t bits = (uint32_t)n;
  for (int i = 0; i < 4; i++) source[i] = (uint8_t)(bits >> (8 * i));
  memcpy(source + 4, content, length);
  Result result = vm_compute(vm, source, length + 4);
  VmStatus status = result.status;
  result_free(&result);
  return status;
}

static void damaged_results(void) {
#define BYTES(text) (text), sizeof(text) - 1
  static const struct {
    int32_t n;
    const char *content;
    size_t length;
  } bad[] = {
      {1, BYTES("")}, {3, BYTES("")}, {65537, BYTES("")}, {INT32_MAX, BYTES("")}, {-65538, BYTES("")}, {INT32_MIN, BYTES("")},
      {5, BYTES("\2\0\0\0\0")}, {5, BYTES("\xff\xff\xff\xff\0")}, /* output longer than the result */
      {5, BYTES("\0\0\0\0\x0d")}, {5, BYTES("\0\0\0\0\xff")},     /* unknown tags */
      {5, BYTES("\0\0\0\0\1")}, {6, BYTES("\0\0\0\0\2\0")}, {6, BYTES("\0\0\0\0\3\0")}, /* cut off */
      {9, BYTES("\0\0\0\0\4\1\0\0\0")}, {9, BYTES("\0\0\0\0\5\xff\xff\xff\xff")}, {7, BYTES("\0\0\0\0\7\1\0")},
      {13, BYTES("\0\0\0\0\x08\xff\xff\xff\xff\xff\xff\xff\xff")}, /* entries that are not there */
      {15, BYTES("\0\0\0\0\x08\0\0\0\0\1\0\0\0\0\0")},             /* nil as a key */
      {9, BYTES("\0\0\0\0\x09\0\0\0\0")},                          /* a table that did not begin */
  };
  Box box = open_box(hostile, 1);
  CHECK(answer(box.vm, 6, BYTES("\0\0\0\0\1\1")) == VM_OK);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    CHECK(answer(box.vm, bad[i].n, bad[i].content, bad[i].length) == VM_PROTOCOL, "answer %zu", i);
  close_box(&box);
}

static void hostile_requests(void) {
#define SLEEP "\x09\xff\xff\xff\xff\1\0\0\0"
  static const struct {
    const char *bytes;
    size_t length;
  } bad[] = {
      {BYTES("")}, {BYTES("\0")}, {BYTES("\1")}, {BYTES("\1\xff\xff\xff\xff")}, /* nothing is asked, and yet it waits */
      {BYTES("\x0a\1\0\0")}, {BYTES("\xff")},
      {BYTES(SLEEP "\4\1")}, {BYTES(SLEEP "\x0d")}, /* values that are none */
      {BYTES("\x09\0\0\0\0\1\0\0\0")},         /* a function that was not declared */
  };
  Message none = {0};
  Box box = open_box(hostile, 3);
  for (size_t i = 0; i < sizeof bad / sizeof *bad + sizeof SLEEP - 1; i++) {
    size_t cut = i - sizeof bad / sizeof *bad;
    bool whole = i < sizeof bad / sizeof *bad;
    Result result = vm_start(box.vm, whole ? bad[i].bytes : SLEEP, whole ? bad[i].length : cut, &none);
    CHECK(result.status == VM_PROTOCOL && !vm_waiting(box.vm), "request %zu: %s", i, vm_status_text(result.status));
    result_free(&result);
  }
  Result result = vm_start(box.vm, BYTES(SLEEP "\2\5\0\0\0\0\0\0\0"), &none);
  CHECK(result.status == VM_WAITS);
  asked(box.vm, "1:task.sleep(5) ");
  CHECK(resume(box.vm) == VM_WAITS);
  CHECK(vm_answer(box.vm, 1, &none) == VM_OK && resume(box.vm) == VM_PROTOCOL && !vm_waiting(box.vm));
  result = vm_start(box.vm, BYTES(SLEEP), &none);
  CHECK(result.status == VM_WAITS && vm_cancel(box.vm) == VM_PROTOCOL && !vm_waiting(box.vm));
  close_box(&box);
}

static void deep_tables(void) {
  enum { LEVELS = 200000 };
  uint8_t *bytes = calloc(LEVELS, 9);
  for (size_t i = 0; i < LEVELS; i++) {
    bytes[9 * i] = 0x08;
    bytes[9 * i + 1] = i + 1 < LEVELS;
  }
  Message message;
  size_t length = 0;
  CHECK(message_decode(&message, bytes, (size_t)LEVELS * 9) == NULL);
  CHECK(message.table_count == LEVELS);
  uint8_t *encoded = message_encode(&message, &length);
  CHECK(encoded != NULL && length == 9u * LEVELS + 9u * (LEVELS - 1)); /* as pairs: with a key each */
  FILE *nowhere = fopen("/dev/null", "w");
  message_show(nowhere, &message);
  fclose(nowhere);
  free(encoded);
  free(bytes);
  message_free(&message);
}

static void buffer_outside_the_memory(void) {
  static const uint32_t places[][2] = {{131072, 65536}, {UINT32_MAX - 3, 65536}, {131070, 4}, {0, 3}, {UINT32_MAX, UINT32_MAX}};
  Box box = open_box(hostile, 1);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    MemoryStats stats;
    CHECK(vm_export(box.vm, "set_buffer", 2, places[i], NULL) == VM_OK);
    Result result = compute(box.vm, "12345");
    CHECK(result.status == VM_PROTOCOL || result.status == VM_TOO_LARGE, "place %zu", i);
    result_free(&result);
    CHECK(vm_memory_stats(box.vm, &stats) == VM_PROTOCOL, "place %zu", i);
  }
  close_box(&box);
}

static void a_trap(void) {
  Message none = {0};
  Box box = open_box(hostile, 2);
  Result result = vm_call(box.vm, "f", &none);
  CHECK(result.status == VM_TRAP && strstr((char *)result.text, "unreachable") != NULL);
  result_free(&result);
  close_box(&box);
}

/* Calls a function of the hostile guest. */
static void call(Vm *vm, int64_t want, const char *name, uint32_t count, ...) {
  uint32_t arguments[5], result = 0;
  va_list list;
  va_start(list, count);
  for (uint32_t i = 0; i < count; i++) arguments[i] = (uint32_t)va_arg(list, int64_t);
  va_end(list);
  bool returns = strcmp(name, "poke") != 0;
  VmStatus status = vm_export(vm, name, count, arguments, returns ? &result : NULL);
  CHECK(status == VM_OK && (int32_t)result == want, "%s: %s, %" PRId32 " instead of %" PRId64, name, vm_status_text(status),
        (int32_t)result, want);
}

#define I(n) ((int64_t)(n))
#define CALL1(want, name, a) call(box.vm, want, name, 1, I(a))
#define CALL2(want, name, a, b) call(box.vm, want, name, 2, I(a), I(b))
#define CALL3(want, name, a, b, c) call(box.vm, want, name, 3, I(a), I(b), I(c))
#define CALL5(want, name, a, b, c, d, e) call(box.vm, want, name, 5, I(a), I(b), I(c), I(d), I(e))

static void hostile_pointers(int revision) {
  enum { SIZE = 2 * 65536 };
  static const int64_t outside[][2] = {{SIZE, 1}, {SIZE - 1, 2}, {-1, 1}, {-1, -1}, {0, -1}, {0, SIZE + 1},
                                       {INT32_MAX, INT32_MAX}, {8, -8}, {INT32_MIN, INT32_MIN}};
  Box box = open_box(hostile, revision);
  CALL2(0, "poke", 8, 'k'); /* a key at 8 */
  CALL5(0, "set", 1, 8, 1, 0, 4);
  CALL5(4, "get", 1, 8, 1, 100, 4);

  for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
    int64_t ptr = outside[i][0], length = outside[i][1];
    CALL5(-1, "set", 1, ptr, length, 0, 4);
    CALL5(-1, "set", 1, 8, 1, ptr, length);
    CALL5(-1, "get", 1, ptr, length, 100, 4);
    CALL5(-1, "get", 1, 8, 1, ptr, length);
    CALL3(-1, "delete", 1, ptr, length);
    CALL3(-1, "keys", 1, ptr, length);
  }
  CALL1(1, "size", 1);

  /* Exactly at the end, and nothing at the end. */
  CALL5(0, "set", 1, 8, 1, SIZE - 4, 4);
  CALL5(4, "get", 1, 8, 1, SIZE - 4, 4);
  CALL5(0, "set", 2, SIZE, 0, SIZE, 0);
  CALL5(0, "get", 2, SIZE, 0, SIZE, 0);

  /* Too small a buffer stays as it was. */
  CALL2(0, "poke", 200, 0x55);
  CALL5(revision == 1 ? -1 : -5, "get", 1, 8, 1, 200, 3);
  CALL3(revision == 1 ? -1 : -2, "keys", 1, 200, 0);
  CALL1(0x55, "peek", 200);
  CALL3(1, "keys", 1, 200, 1);
  CALL1('k', "peek", 200);

  /* Id 0 is no table, others do not exist. */
  CALL5(-1, "set", 0, 8, 1, 0, 4);
  CALL5(-1, "get", 0, 8, 1, 100, 4);
  CALL3(-1, "delete", 0, 8, 1);
  CALL1(0, "size", 0);
  CALL3(-1, "keys", 0, 100, 10);
  CALL5(-1, "get", -1, 8, 1, 100, 4);
  CALL3(-1, "delete", 77, 8, 1);
  CALL3(-1, "keys", 77, 100, 10);
  CALL3(0, "delete", 1, 8, 1);
  CALL3(0, "delete", 1, 8, 1);
  CALL3(0, "keys", 1, 100, 10);

  /* After growth the new memory counts. */
  CALL1(2, "grow", 1);
  CALL2(0, "poke", SIZE + 8, 'k');
  CALL5(0, "set", 3, SIZE + 8, 1, SIZE, 100);
  CALL5(100, "get", 3, 8, 1, SIZE + 200, 100);
  CALL1('k', "peek", SIZE + 208);
  CALL5(-1, "get", 3, 8, 1, SIZE + 65536 - 99, 100);
  close_box(&box);
}

static void read_all(FILE *file, char *text, size_t size) {
  size_t length = file != NULL ? fread(text, 1, size - 1, file) : 0;
  text[length] = '\0';
}

static void guided_tour(const char *program) {
  static char printed[16384], expected[16384];
  char command[4096];
  FILE *file = fopen(EXAMPLE_FOLDER "/../testdata/tour.txt", "r");
  read_all(file, expected, sizeof expected);
  if (file != NULL) fclose(file);
  snprintf(command, sizeof command, "'%s'", program);
  FILE *pipe = popen(command, "r");
  read_all(pipe, printed, sizeof printed);
  CHECK(pipe != NULL && pclose(pipe) == 0);
  CHECK(*expected != '\0' && strcmp(printed, expected) == 0, "%s", printed);
}

int main(int argc, char **argv) {
  char problem[128];
  const char *path = getenv("LUA_WASM");
  if (argc != 2 || !runtime_start()) return 2;
  lua = lua_module_load(path != NULL && *path != '\0' ? path : DEFAULT_LUA_WASM, problem, sizeof problem);
  if (lua != NULL) hostile = lua_module_load(EXAMPLE_FOLDER "/../testdata/hostile.wasm", problem, sizeof problem);
  if (lua == NULL || hostile == NULL) {
    fprintf(stderr, "%s\n", problem);
    return 2;
  }
  static const struct {
    const char *name;
    void (*run)(void);
  } tests[] = {
      {"basic arithmetic", basic_arithmetic},
      {"string operations", string_operations},
      {"captured output", captured_output},
      {"external table persistence", external_table_persistence},
      {"data in and out", data_in_and_out},
      {"error handling", error_handling},
      {"memory statistics", memory_statistics},
      {"revision 2: tables by value, arguments, calls, sizes", revision_2},
      {"revision 3: runs that wait", revision_3},
      {"keys come back as they were", keys},
      {"damaged results are refused", damaged_results},
      {"hostile requests", hostile_requests},
      {"tables nested 200,000 levels", deep_tables},
      {"a buffer outside the memory", buffer_outside_the_memory},
      {"a trap is a status of its own", a_trap},
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    test_begin(tests[i].name);
    tests[i].run();
  }
  test_begin("hostile pointers, revision 1");
  hostile_pointers(1);
  test_begin("hostile pointers, revision 2");
  hostile_pointers(2);
  test_begin("the guided tour prints what it should");
  guided_tour(argv[1]);
  lua_module_free(hostile);
  lua_module_free(lua);
  runtime_end();
  return tests_end();
}
