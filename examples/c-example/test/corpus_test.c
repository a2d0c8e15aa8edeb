/* The conformance corpus (core/tests/cases, its README says what stands in it), with a host of the first revision and
 * one of the last.
 * CASES=text runs only the cases whose name or file contains the text. */
#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"
#include "vm.h"

#define CASES_FOLDER EXAMPLE_FOLDER "/../../core/tests/cases"

static Module *lua;

/* Whether a host of that revision has what a case needs beyond five functions and compute. */
static bool offered(const char *need, int revision) {
  static const char *const revision_3[] = {"args", "call", "input", "large", "table_keys", "waiting"};
  if (strcmp(need, "reopen") == 0) return true;
  for (size_t i = 0; revision >= 3 && i < sizeof revision_3 / sizeof *revision_3; i++)
    if (strcmp(need, revision_3[i]) == 0) return true;
  return false;
}

static bool runs(const json_t *one, int revision) {
  size_t i;
  json_t *need;
  json_array_foreach(json_object_get(one, "needs"), i, need) {
    if (!offered(json_string_value(need), revision)) return false;
  }
  return true;
}

/* ---- bytes ---- */

/* Memory of the running step, all freed at its end. */
typedef struct Piece {
  struct Piece *next;
} Piece;
static Piece *pieces;

static void *allocate(size_t size) {
  Piece *piece = malloc(sizeof *piece + size);
  if (piece == NULL) abort();
  piece->next = pieces;
  pieces = piece;
  return piece + 1;
}

static void free_pieces(void) {
  while (pieces != NULL) {
    Piece *next = pieces->next;
    free(pieces);
    pieces = next;
  }
}

typedef struct Bytes {
  const char *data;
  size_t length;
} Bytes;

static bool same_bytes(Bytes a, const void *data, size_t length) {
  return a.length == length && (length == 0 || memcmp(a.data, data, length) == 0);
}

static Bytes from_hex(const char *hex) {
  size_t length = strlen(hex) / 2;
  char *data = allocate(length);
  for (size_t i = 0; i < length; i++) {
    unsigned byte = 0;
    sscanf(hex + 2 * i, "%2x", &byte);
    data[i] = (char)byte;
  }
  return (Bytes){data, length};
}

static bool is_text(const json_t *v) {
  return json_is_string(v) || json_object_get(v, "hex") != NULL || json_object_get(v, "repeat") != NULL;
}

/* Text, {"hex": ...} or {"repeat": [text, count]}. */
static Bytes text_of(const json_t *v) {
  if (json_is_string(v)) return (Bytes){json_string_value(v), json_string_length(v)};
  const json_t *hex = json_object_get(v, "hex");
  if (hex != NULL) return from_hex(json_string_value(hex));
  const json_t *repeat = json_object_get(v, "repeat");
  Bytes part = text_of(json_array_get(repeat, 0));
  size_t count = (size_t)json_integer_value(json_array_get(repeat, 1));
  char *data = allocate(part.length * count);
  for (size_t i = 0; i < count; i++) memcpy(data + i * part.length, part.data, part.length);
  return (Bytes){data, part.length * count};
}

static Bytes source_of(const json_t *step) {
  const json_t *source = json_object_get(step, "source");
  const json_t *hex = json_object_get(step, "source_hex");
  if (source != NULL) return text_of(source);
  if (hex != NULL) return from_hex(json_string_value(hex));
  size_t i, length = 0;
  json_t *part;
  json_array_foreach(json_object_get(step, "source_parts"), i, part) length += text_of(part).length;
  char *data = allocate(length);
  Bytes all = {data, length};
  json_array_foreach(json_object_get(step, "source_parts"), i, part) {
    Bytes bytes = text_of(part);
    memcpy(data, bytes.data, bytes.length);
    data += bytes.length;
  }
  return all;
}

/* ---- values to send ---- */

enum { MAX_IDS = 16 };

static Value value_of(Message *message, const json_t *v, size_t ids[MAX_IDS]);

/* Tables that `index` names may move while others are added. */
static void add(Message *message, size_t index, Value key, Value value) {
  if (!table_add(&message->tables[index], key, value)) abort();
}

static Value table_of(Message *message, const json_t *v, size_t ids[MAX_IDS]) {
  size_t table, inner, i;
  json_t *item;
  if (!message_add_table(message, &table)) abort();
  const json_t *id = json_object_get(v, "id");
  if (id != NULL) ids[json_integer_value(id) % MAX_IDS] = table;
  inner = table;
  for (json_int_t level = 1; level < json_integer_value(json_object_get(v, "deep")); level++) {
    size_t next;
    if (!message_add_table(message, &next)) abort();
    add(message, inner, value_integer(1), (Value){.kind = VALUE_TABLE, .table = next});
    inner = next;
  }
  json_array_foreach(json_object_get(v, "array"), i, item)
    add(message, table, value_integer((int64_t)i + 1), value_of(message, item, ids));
  json_array_foreach(json_object_get(v, "table"), i, item) {
    Value key = value_of(message, json_array_get(item, 0), ids);
    add(message, table, key, value_of(message, json_array_get(item, 1), ids));
  }
  return (Value){.kind = VALUE_TABLE, .table = table};
}

static Value value_of(Message *message, const json_t *v, size_t ids[MAX_IDS]) {
  const json_t *field;
  if (json_is_null(v)) return (Value){.kind = VALUE_NIL};
  if (json_is_boolean(v)) return (Value){.kind = VALUE_BOOLEAN, .boolean = json_is_true(v)};
  if (is_text(v)) {
    Bytes text = text_of(v);
    return (Value){.kind = VALUE_STRING, .text = {(const uint8_t *)text.data, text.length}};
  }
  if ((field = json_object_get(v, "int")) != NULL) return value_integer(strtoll(json_string_value(field), NULL, 10));
  if ((field = json_object_get(v, "float")) != NULL)
    return (Value){.kind = VALUE_FLOAT, .number = strtod(json_string_value(field), NULL)};
  if ((field = json_object_get(v, "ref")) != NULL)
    return (Value){.kind = VALUE_TABLE, .table = ids[json_integer_value(field) % MAX_IDS]};
  return table_of(message, v, ids);
}

static Message values_of(const json_t *list) {
  Message message = {0};
  size_t i, ids[MAX_IDS] = {0};
  json_t *v;
  json_array_foreach(list, i, v) {
    if (!message_add(&message, value_of(&message, v, ids))) abort();
  }
  return message;
}

/* ---- comparing ---- */

/* A table, wherever it lives: inline in the result, or stored. */
typedef struct Found {
  const Message *message; /* of its keys and values */
  const InlineTable *table;
  const void *identity;
} Found;

/* The content of a stored table, read once for a comparison, so that it has an identity. */
typedef struct Stored {
  struct Stored *next;
  uint32_t id;
  InlineTable table;
  Message *values; /* one message for each entry */
  size_t count;
} Stored;

typedef struct Comparison {
  Tables *tables;
  Stored *stored;
  const void *ids[MAX_IDS];
} Comparison;

static Stored *read_stored(Comparison *comparison, uint32_t id) {
  for (Stored *known = comparison->stored; known != NULL; known = known->next)
    if (known->id == id) return known;
  Stored *stored = calloc(1, sizeof *stored);
  if (stored == NULL) abort();
  *stored = (Stored){.next = comparison->stored, .id = id};
  comparison->stored = stored;
  stored->values = calloc(tables_size(comparison->tables, id) + 1, sizeof *stored->values);
  for (const TableEntry *entry = tables_first(comparison->tables, id); entry != NULL; entry = entry->next) {
    Message *value = &stored->values[stored->count++];
    Value key = key_decode(entry->key, entry->key_length, allocate(entry->key_length));
    const char *problem = message_decode(value, entry->value, entry->value_length);
    if (!CHECK(problem == NULL && value->count == 1, "%s", problem)) break;
    if (!table_add(&stored->table, key, value->values[0])) abort();
  }
  return stored;
}

static void free_comparison(Comparison *comparison) {
  while (comparison->stored != NULL) {
    Stored *stored = comparison->stored;
    comparison->stored = stored->next;
    for (size_t i = 0; i < stored->count; i++) message_free(&stored->values[i]);
    free(stored->values);
    free(stored->table.entries);
    free(stored);
  }
}

/* Values of stored tables are scalars and references, so the result's message serves for them as well. */
static bool find(Comparison *comparison, const Message *message, const Value *got, bool through, Found *found) {
  if (got->kind == VALUE_TABLE) {
    const InlineTable *table = &message->tables[got->table];
    *found = (Found){message, table, table};
    return true;
  }
  if (got->kind != VALUE_EXTERNAL || !through) return false;
  Stored *stored = read_stored(comparison, got->id);
  *found = (Found){message, &stored->table, stored};
  return true;
}

static bool same(Comparison *comparison, const json_t *want, const Message *message, const Value *got, bool through);

/* Whether the table has exactly the wanted entries. `take` marks those that are found. */
static bool same_entry(Comparison *comparison, const json_t *key, const json_t *value, const Found *found, bool *taken,
                       bool through) {
  int64_t index = 0;
  for (size_t i = 0; i < found->table->count; i += 2) {
    const Value *entry = &found->table->entries[i];
    if (taken[i / 2]) continue;
    /* The key of an array's item has no JSON of its own: it comes as the number that it is. */
    bool same_key = json_is_integer(key) ? (index = json_integer_value(key), entry->kind == VALUE_INTEGER && entry->integer == index)
                                         : same(comparison, key, found->message, &entry[0], through);
    if (!same_key) continue;
    taken[i / 2] = true;
    return same(comparison, value, found->message, &entry[1], through);
  }
  return false;
}

static bool same_entries(Comparison *comparison, const json_t *want, const Found *found, bool through) {
  const json_t *array = json_object_get(want, "array");
  const json_t *table = json_object_get(want, "table");
  size_t i, count = json_array_size(array) + json_array_size(table);
  json_t *item;
  if (count != found->table->count / 2) return false;
  bool *taken = calloc(count + 1, sizeof *taken);
  bool all = taken != NULL;
  json_array_foreach(array, i, item) {
    json_t *key = json_integer((json_int_t)i + 1);
    all = all && same_entry(comparison, key, item, found, taken, through);
    json_decref(key);
  }
  json_array_foreach(table, i, item) {
    all = all && same_entry(comparison, json_array_get(item, 0), json_array_get(item, 1), found, taken, through);
  }
  free(taken);
  return all;
}

static bool same_table(Comparison *comparison, const json_t *want, const Message *message, const Value *got, bool through) {
  Found found;
  const json_t *ref = json_object_get(want, "ref");
  const json_t *id = json_object_get(want, "id");
  if (!find(comparison, message, got, through, &found)) return false;
  if (ref != NULL) return comparison->ids[json_integer_value(ref) % MAX_IDS] == found.identity;
  if (id != NULL) comparison->ids[json_integer_value(id) % MAX_IDS] = found.identity;
  for (json_int_t level = 1; level < json_integer_value(json_object_get(want, "deep")); level++) {
    const Value *entry = found.table->entries;
    if (found.table->count != 2 || entry[0].kind != VALUE_INTEGER || entry[0].integer != 1) return false;
    if (!find(comparison, message, &entry[1], through, &found)) return false;
  }
  return same_entries(comparison, want, &found, through);
}

static bool same_float(const char *want, const Value *got) {
  double number = strtod(want, NULL);
  if (got->kind != VALUE_FLOAT) return false;
  return isnan(number) ? isnan(got->number) : memcmp(&number, &got->number, sizeof number) == 0;
}

static bool is_function(const Value *got) {
  return got->kind == VALUE_BYTECODE || got->kind == VALUE_BUILTIN || got->kind == VALUE_HANDLE ||
         got->kind == VALUE_STORED_FUNCTION;
}

/* `through`: stored tables may stand where plain ones are expected. */
static bool same(Comparison *comparison, const json_t *want, const Message *message, const Value *got, bool through) {
  const json_t *field;
  if (json_is_null(want)) return got->kind == VALUE_NIL;
  if (json_is_boolean(want)) return got->kind == VALUE_BOOLEAN && got->boolean == json_is_true(want);
  if (is_text(want)) return got->kind == VALUE_STRING && same_bytes(text_of(want), got->text.data, got->text.length);
  if (json_object_get(want, "any") != NULL) return true;
  if ((field = json_object_get(want, "int")) != NULL)
    return got->kind == VALUE_INTEGER && got->integer == strtoll(json_string_value(field), NULL, 10);
  if ((field = json_object_get(want, "float")) != NULL) return same_float(json_string_value(field), got);
  if (json_object_get(want, "function") != NULL) return is_function(got);
  if ((field = json_object_get(want, "stored")) != NULL)
    return got->kind == VALUE_EXTERNAL && same(comparison, field, message, got, true);
  return same_table(comparison, want, message, got, through);
}

/* ---- running ---- */

static Result start(Vm *vm, const json_t *step) {
  const json_t *call = json_object_get(step, "call");
  const json_t *args = json_object_get(step, "args");
  const json_t *chunk = json_object_get(step, "chunk");
  Message values = values_of(args);
  Result result;
  if (call != NULL) {
    result = vm_call(vm, json_string_value(call), &values);
  } else {
    Bytes source = source_of(step);
    const char *name = chunk != NULL ? json_string_value(chunk) : "";
    if (args != NULL || chunk != NULL) result = vm_compute_named(vm, name, source.data, source.length, &values);
    else result = vm_compute(vm, source.data, source.length);
  }
  message_free(&values);
  return result;
}

static void check_error(const json_t *error, const Result *result) {
  const json_t *message = json_object_get(error, "message");
  const json_t *part = json_object_get(error, "message_contains");
  const char *text = (const char *)result->text;
  if (message != NULL) CHECK(same_bytes(text_of(message), text, result->text_length), "%.200s", text);
  if (part != NULL)
    CHECK(memmem(text, result->text_length, json_string_value(part), json_string_length(part)) != NULL, "%.200s", text);
}

static bool same_values(const json_t *want, const Message *got, Tables *tables, int revision) {
  Comparison comparison = {.tables = tables};
  bool all = json_array_size(want) == got->count;
  for (size_t i = 0; all && i < got->count; i++)
    all = same(&comparison, json_array_get(want, i), got, &got->values[i], revision == 1);
  free_comparison(&comparison);
  return all;
}

static void check_values(const json_t *values, const Message *got, Tables *tables, int revision) {
  if (!CHECK(same_values(values, got, tables, revision), "other values:")) {
    fputs("# ", stdout);
    message_show(stdout, got);
    putchar('\n');
  }
}

/* Answers what the run waits for, and lets it go on or, without answers, cancels it. */
static Result answer(Vm *vm, const json_t *wait, Tables *tables) {
  const json_t *answers = json_object_get(wait, "answers");
  const Request *request = vm_requests(vm);
  size_t i;
  json_t *one;
  json_array_foreach(json_object_get(wait, "requests"), i, one) {
    const json_t *args = json_object_get(one, "args");
    if (!CHECK(request != NULL, "a request is missing")) break;
    CHECK((json_int_t)request->id == json_integer_value(json_object_get(one, "id")), "request %" PRIu32, request->id);
    CHECK(strcmp(request->name, json_string_value(json_object_get(one, "name"))) == 0, "request of %s", request->name);
    if (args != NULL) check_values(args, &request->args, tables, 3);
    request = request->next;
  }
  CHECK(request == NULL, "one more request");
  if (answers == NULL) return (Result){.status = vm_cancel(vm)};
  json_array_foreach(answers, i, one) {
    uint32_t id = (uint32_t)json_integer_value(json_object_get(one, "id"));
    const json_t *error = json_object_get(one, "error");
    Message values = values_of(json_object_get(one, "values"));
    VmStatus status = error != NULL ? vm_fail(vm, id, json_string_value(error)) : vm_answer(vm, id, &values);
    CHECK(status == VM_OK, "%s", vm_status_text(status));
    message_free(&values);
  }
  return vm_resume(vm);
}

/* Starts the run and answers it each time that it waits. */
static Result start_and_answer(Vm *vm, const json_t *step, Tables *tables) {
  const json_t *call = json_object_get(step, "call");
  Message values = values_of(json_object_get(step, "args"));
  Result result;
  if (call != NULL) {
    result = vm_start_call(vm, json_string_value(call), &values);
  } else {
    Bytes source = source_of(step);
    result = vm_start(vm, source.data, source.length, &values);
  }
  message_free(&values);
  size_t i;
  json_t *wait;
  json_array_foreach(json_object_get(step, "waits"), i, wait) {
    if (!CHECK(result.status == VM_WAITS, "wait %zu: %s", i + 1, vm_status_text(result.status))) break;
    result = answer(vm, wait, tables);
  }
  return result;
}

static void run_source(Vm *vm, const json_t *step, Tables *tables, int revision) {
  const json_t *error = json_object_get(step, "error");
  const json_t *output = json_object_get(step, "output");
  const json_t *values = json_object_get(step, "values");
  bool waits = json_object_get(step, "waits") != NULL;
  Result result = waits ? start_and_answer(vm, step, tables) : start(vm, step);
  bool expected = result.status == (error != NULL ? VM_LUA_ERROR : VM_OK);
  if (!CHECK(expected, "%s: %.200s", vm_status_text(result.status), result.text != NULL ? (char *)result.text : "")) {
    result_free(&result);
    return;
  }
  if (error != NULL) {
    check_error(error, &result);
  } else {
    if (output != NULL) CHECK(same_bytes(text_of(output), result.text, result.text_length), "%.200s", (char *)result.text);
    if (values != NULL) check_values(values, &result.values, tables, revision);
  }
  result_free(&result);
}

static void set_input(Vm *vm, const json_t *input) {
  static const char source[] = "_io.input = ...";
  json_t *list = json_pack("[O]", input);
  Message values = values_of(list);
  Result result = vm_compute_named(vm, "", source, strlen(source), &values);
  CHECK(result.status == VM_OK, "%s", vm_status_text(result.status));
  result_free(&result);
  message_free(&values);
  json_decref(list);
}

static Vm *open_vm(const json_t *one, Tables *tables, uint32_t next_table_id, int revision) {
  char problem[128];
  size_t i;
  json_t *name;
  Vm *vm = vm_new(lua, tables, next_table_id, revision, problem, sizeof problem);
  CHECK(vm != NULL, "%s", problem);
  json_array_foreach(json_object_get(one, "declare"), i, name) {
    CHECK(vm != NULL && vm_declare(vm, json_string_value(name)) == VM_OK, "declare");
  }
  return vm;
}

static void run_case(const json_t *one, int revision) {
  Tables *tables = tables_new();
  Vm *vm = open_vm(one, tables, 0, revision);
  size_t i;
  json_t *step;
  json_array_foreach(json_object_get(one, "steps"), i, step) {
    json_int_t times = json_integer_value(json_object_get(step, "times"));
    const json_t *input = json_object_get(step, "set_input");
    for (json_int_t round = 0; vm != NULL && !test_failed() && round < (times > 0 ? times : 1); round++) {
      if (json_object_get(step, "reopen") != NULL) {
        uint32_t next = 0;
        CHECK(vm_next_table_id(vm, &next) == VM_OK);
        vm_free(vm);
        vm = open_vm(one, tables, next, revision);
      } else if (json_object_get(step, "gc") != NULL) {
        CHECK(vm_collect_garbage(vm) == VM_OK);
      } else if (input != NULL) {
        set_input(vm, input);
      } else {
        run_source(vm, step, tables, revision);
      }
      free_pieces();
      if (test_failed()) printf("# step %zu, round %" JSON_INTEGER_FORMAT "\n", i + 1, round + 1);
    }
  }
  vm_free(vm);
  tables_free(tables);
}

/* Runs the cases of one file; how many were run is added to the first number, how many were not to the second. */
static void run_file(const char *name, int revision, int counts[2]) {
  char path[4096], title[4096];
  const char *only = getenv("CASES");
  json_error_t error;
  snprintf(path, sizeof path, "%s/%s", CASES_FOLDER, name);
  json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &error);
  if (cases == NULL) {
    test_begin(name);
    CHECK(false, "%s, line %d", error.text, error.line);
    return;
  }
  size_t i;
  json_t *one;
  json_array_foreach(cases, i, one) {
    snprintf(title, sizeof title, "%s: %s, revision %d", name, json_string_value(json_object_get(one, "name")), revision);
    if (only != NULL && strstr(title, only) == NULL) continue;
    bool run = runs(one, revision);
    counts[run ? 0 : 1]++;
    if (!run) continue;
    test_begin(title);
    run_case(one, revision);
    test_end();
  }
  json_decref(cases);
}

static int is_json(const struct dirent *entry) {
  const char *ending = strrchr(entry->d_name, '.');
  return ending != NULL && strcmp(ending, ".json") == 0;
}

int main(void) {
  char problem[128];
  const char *path = getenv("LUA_WASM");
  struct dirent **files = NULL;
  if (!runtime_start()) return 2;
  lua = lua_module_load(path != NULL && *path != '\0' ? path : DEFAULT_LUA_WASM, problem, sizeof problem);
  if (lua == NULL) {
    fprintf(stderr, "%s\n", problem);
    return 2;
  }
  tests_are_parts();
  int count = scandir(CASES_FOLDER, &files, is_json, alphasort);
  for (int revision = 1; revision <= 3; revision += 2) {
    int counts[2] = {0, 0};
    for (int i = 0; i < count; i++) run_file(files[i]->d_name, revision, counts);
    printf("# corpus: %d cases with revision %d, %d need what a bare host has not\n", counts[0], revision, counts[1]);
    if (counts[0] == 0) {
      test_begin("the corpus");
      CHECK(counts[0] > 0, "no case ran");
    }
  }
  for (int i = 0; i < count; i++) free(files[i]);
  free(files);
  lua_module_free(lua);
  runtime_end();
  return tests_end();
}
