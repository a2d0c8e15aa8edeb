/* A guided tour: everything that a host of lua.wasm does, in the order in which one meets it.
 *
 *   lua-wasm-demo [path of lua.wasm]
 *   lua-wasm-demo --time FILE     time one Lua file instead; prints nanoseconds, a tab, its result
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vm.h"

/* Our own errors end the tour; Lua's are part of it. */
static bool check(VmStatus status) {
  if (status != VM_OK) fprintf(stderr, "lua-wasm-demo: %s\n", vm_status_text(status));
  return status == VM_OK;
}

static void title(const char *text) {
  printf("\n== %s\n", text);
}

/* Runs source and prints everything that comes of it. */
static bool compute(Vm *vm, const char *source) {
  printf("> %s\n", source);
  Result result = vm_compute(vm, source, strlen(source));
  bool good = true;
  if (result.status == VM_OK) {
    /* print's text can hold any byte; for a terminal the lines up to the first zero will do. */
    for (char *line = strtok((char *)result.text, "\n"); line != NULL; line = strtok(NULL, "\n")) printf("| %s\n", line);
    message_show(stdout, &result.values);
    if (result.values.count > 0) putchar('\n');
  } else if (result.status == VM_LUA_ERROR) {
    printf("error: %s\n", (const char *)result.text);
  } else {
    good = check(result.status);
  }
  result_free(&result);
  return good;
}

/* Runs sources up to NULL. */
static bool step(Vm *vm, const char *name, ...) {
  va_list sources;
  bool good = true;
  title(name);
  va_start(sources, name);
  for (const char *source; good && (source = va_arg(sources, const char *)) != NULL;) good = compute(vm, source);
  va_end(sources);
  return good;
}

/* Prints a stored value. */
static bool show_stored(const TableEntry *entry) {
  if (entry == NULL) {
    puts("nothing");
    return true;
  }
  Message message;
  const char *problem = message_decode(&message, entry->value, entry->value_length);
  if (problem == NULL) message_show(stdout, &message);
  else fprintf(stderr, "lua-wasm-demo: %s\n", problem);
  message_free(&message);
  putchar('\n');
  return problem == NULL;
}

static int compare_keys(const void *a, const void *b) {
  return strcmp((*(const TableEntry *const *)a)->key, (*(const TableEntry *const *)b)->key);
}

/* Prints a stored table as the host sees it, sorted: the order of its keys is the table map's own. */
static bool show_table(const Tables *tables, uint32_t id) {
  size_t size = tables_size(tables, id), count = 0;
  const TableEntry **entries = calloc(size + 1, sizeof *entries);
  if (entries == NULL) return check(VM_NO_MEMORY);
  for (const TableEntry *entry = tables_first(tables, id); entry != NULL; entry = entry->next) entries[count++] = entry;
  qsort(entries, count, sizeof *entries, compare_keys);

  bool good = true;
  printf("table %u has %zu entries:\n", id, size);
  for (size_t i = 0; i < count && good; i++) {
    uint8_t *scratch = malloc(entries[i]->key_length + 1);
    if (scratch == NULL) {
      good = check(VM_NO_MEMORY);
      break;
    }
    Value key = key_decode(entries[i]->key, entries[i]->key_length, scratch);
    fputs("  [", stdout);
    value_show(stdout, &key);
    fputs("] = ", stdout);
    good = show_stored(entries[i]);
    free(scratch);
  }
  free(entries);
  return good;
}

static bool data_in_and_out(Vm *vm, Tables *tables) {
  uint32_t io = 0;
  size_t length = 0;
  Message input = {0};
  uint8_t *encoded = message_add(&input, value_string("Ada")) ? message_encode(&input, &length) : NULL;
  bool good = check(vm_io_table_id(vm, &io)) && encoded != NULL && tables_set(tables, io, "input", 5, encoded, length);
  free(encoded);
  message_free(&input);
  if (!good || !step(vm, "Data in and out", "_io.output = 'Hello, ' .. _io.input", NULL)) return false;
  fputs("_io.output is ", stdout);
  return show_stored(tables_get(tables, io, "output", 6));
}

static const char *yes_or_no(bool yes) {
  return yes ? "true" : "false";
}

static bool memory(Vm *vm) {
  uint64_t before = vm_memory_size(vm);
  MemoryStats stats;
  bool good = step(vm, "Memory", "local t = {} for i = 1, 300000 do t[i] = i end return #t", NULL) &&
              check(vm_collect_garbage(vm)) && check(vm_memory_stats(vm, &stats));
  if (!good) return false;
  printf("the I/O buffer has %u bytes\n", stats.buffer_size);
  printf("Lua's use is within bounds: %s\n", yes_or_no(stats.used > 0 && stats.used < vm_memory_size(vm)));
  printf("the pages are the memory's: %s\n", yes_or_no(stats.pages * UINT64_C(65536) == vm_memory_size(vm)));
  printf("the memory has grown: %s\n", yes_or_no(vm_memory_size(vm) > before));
  return true;
}

static bool first_vm(Module *module, Tables *tables, uint32_t *next_table_id) {
  char problem[128];
  Vm *vm = vm_new(module, tables, 0, 1, problem, sizeof problem);
  if (vm == NULL) {
    fprintf(stderr, "lua-wasm-demo: %s\n", problem);
    return false;
  }
  bool good =
      step(vm, "Arithmetic", "return 1 + 1", "return 7 // 2, 7 / 2, 2^10, 3 | 4", NULL) &&
      step(vm, "Strings", "return ('lua'):upper() .. '!', #'four'", "return 'any bytes: \\0\\255'", NULL) &&
      step(vm, "Every kind of value", "return nil, true, 42, 2.5, 'text'", "return string.format, function() end",
           "return ext.table()", NULL) &&
      step(vm, "Output", "print('hello', 'from Lua') print(1, 2.0) return 'done'", NULL) &&
      step(vm, "Errors", "return 1 +", "error('out of stock')", "return ('x'):rep(100000)", "return 'still working'",
           NULL) &&
      data_in_and_out(vm, tables) && memory(vm) &&
      step(vm, "A table that outlives its VM", "_home.visits = 1 _home.log = {'first'}", NULL) &&
      check(vm_next_table_id(vm, next_table_id));
  vm_free(vm);
  return good;
}

static bool second_vm(Module *module, Tables *tables, uint32_t next_table_id) {
  char problem[128];
  uint32_t home = 0;
  Vm *vm = vm_new(module, tables, next_table_id, 1, problem, sizeof problem);
  if (vm == NULL) {
    fprintf(stderr, "lua-wasm-demo: %s\n", problem);
    return false;
  }
  bool good = compute(vm, "_home.visits = _home.visits + 1 table.insert(_home.log, 'second') return _home.visits") &&
              compute(vm, "_home.more = {} return _home.log, _home.more") && check(vm_home_table_id(vm, &home)) &&
              show_table(tables, home);
  vm_free(vm);
  return good;
}

static bool greet(Vm *vm) {
  Message args = {0};
  if (!message_add(&args, value_string("Grace"))) return check(VM_NO_MEMORY);
  Result result = vm_call(vm, "greet", &args);
  message_free(&args);
  bool good = check(result.status);
  if (good) {
    fputs("greet(\"Grace\") gives ", stdout);
    message_show(stdout, &result.values);
    putchar('\n');
  }
  result_free(&result);
  return good;
}

static bool long_string(Vm *vm) {
  static const char source[] = "return ('x'):rep(100000)";
  Result result = vm_compute(vm, source, strlen(source));
  bool good = check(result.status);
  if (good && result.values.count > 0 && result.values.values[0].kind == VALUE_STRING)
    printf("a long string has %zu bytes\n", result.values.values[0].text.length);
  result_free(&result);
  return good;
}

static bool newer_vm(Module *module) {
  char problem[128];
  Tables *tables = tables_new();
  if (tables == NULL) return check(VM_NO_MEMORY);
  Vm *vm = vm_new(module, tables, 0, 2, problem, sizeof problem);
  if (vm == NULL) fprintf(stderr, "lua-wasm-demo: %s\n", problem);
  bool good = vm != NULL &&
              step(vm, "Revision 2: tables by value, arguments, calls",
                   "local t = {10, 20, {deep = true}} t.me = t return t",
                   "function greet(name) return 'Hello, ' .. name end", NULL) &&
              greet(vm) && long_string(vm);
  vm_free(vm);
  tables_free(tables);
  return good;
}

/* Starts a run and answers all that it asks, each time that it waits. */
static Result start_and_answer(Vm *vm, const char *source) {
  Value value = value_string("yes");
  Message yes = {.values = &value, .count = 1};
  Result result = vm_start(vm, source, strlen(source), &(Message){0});
  while (result.status == VM_WAITS) {
    /* Here a program does something else until it has an answer; nothing of the run is on any stack. */
    const Request *request;
    while ((request = vm_requests(vm)) != NULL) {
      printf("request %u: %s(", request->id, request->name);
      message_show(stdout, &request->args);
      puts(")");
      VmStatus status = vm_answer(vm, request->id, &yes);
      if (status != VM_OK) return (Result){.status = status};
    }
    result = vm_resume(vm);
  }
  return result;
}

static bool waiting_vm(Module *module) {
  static const char source[] =
      "local task = require 'task' return task.all(function() return ask('tea?') end, function() return ask('cake?') end)";
  char problem[128];
  Tables *tables = tables_new();
  if (tables == NULL) return check(VM_NO_MEMORY);
  Vm *vm = vm_new(module, tables, 0, 3, problem, sizeof problem);
  if (vm == NULL) fprintf(stderr, "lua-wasm-demo: %s\n", problem);
  title("Revision 3: a run that waits");
  bool good = vm != NULL && check(vm_declare(vm, "ask"));
  if (good) {
    printf("> %s\n", source);
    Result result = start_and_answer(vm, source);
    good = check(result.status);
    message_show(stdout, &result.values);
    putchar('\n');
    result_free(&result);
  }
  vm_free(vm);
  tables_free(tables);
  return good;
}

static bool tour(Module *module) {
  uint32_t next_table_id = 0;
  Tables *tables = tables_new();
  if (tables == NULL) return check(VM_NO_MEMORY);
  bool good = first_vm(module, tables, &next_table_id) && second_vm(module, tables, next_table_id) && newer_vm(module) &&
              waiting_vm(module);
  tables_free(tables);
  return good;
}

static bool time_file(Module *module, const char *path) {
  static char source[1 << 20];
  char problem[128];
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    return false;
  }
  size_t length = fread(source, 1, sizeof source, file);
  fclose(file);

  Tables *tables = tables_new();
  Vm *vm = tables != NULL ? vm_new(module, tables, 0, 2, problem, sizeof problem) : NULL;
  bool good = vm != NULL;
  if (good) {
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    Result result = vm_compute(vm, source, length);
    clock_gettime(CLOCK_MONOTONIC, &end);
    good = check(result.status);
    if (good) {
      printf("%.0f\t", (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec));
      if (result.values.count == 1 && result.values.values[0].kind == VALUE_STRING)
        fwrite(result.values.values[0].text.data, 1, result.values.values[0].text.length, stdout);
      else message_show(stdout, &result.values);
      putchar('\n');
    }
    result_free(&result);
  }
  vm_free(vm);
  tables_free(tables);
  return good;
}

int main(int argc, char **argv) {
  const char *path = getenv("LUA_WASM");
  if (path == NULL || *path == '\0') path = DEFAULT_LUA_WASM; /* from the Makefile */
  bool timing = argc == 3 && strcmp(argv[1], "--time") == 0;
  if (argc == 2 && argv[1][0] != '-') path = argv[1];
  else if (argc != 1 && !timing) {
    fputs("usage: lua-wasm-demo [path of lua.wasm] | lua-wasm-demo --time FILE\n", stderr);
    return 2;
  }

  char problem[128];
  if (!runtime_start()) {
    fputs("lua-wasm-demo: WAMR does not start\n", stderr);
    return 1;
  }
  Module *module = lua_module_load(path, problem, sizeof problem);
  if (module == NULL) fprintf(stderr, "lua-wasm-demo: %s\n", problem);
  bool good = module != NULL && (timing ? time_file(module, argv[2]) : tour(module));
  lua_module_free(module);
  runtime_end();
  return good ? 0 : 1;
}
