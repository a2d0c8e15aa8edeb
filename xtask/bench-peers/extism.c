/*
** extism's side of `cargo xtask bench --peers`: plugin.c in libextism, used as bench-runner uses luacell.
**
**   extism MODE COUNT PLUGIN.WASM    prints nanoseconds for each
**
**     compile      the plug-in from bytes to machine code, and the first result of "return 1+1"
**     first        a new plug-in of what is compiled, "return 1+1", and freed
**     eval         "return 1+1" in a plug-in that is there, in a Lua of its own
**     call         a Lua function that is kept, two integers to one
**     records-in   1,000 records of three fields as JSON, made here, added up by a Lua function
**     records-out  as many records as JSON, read into structs here
*/
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What is used of libextism's interface. */
typedef struct compiled compiled;
typedef struct plugin plugin;
compiled *extism_compiled_plugin_new(const uint8_t *wasm, uint64_t size, const void **functions, uint64_t count, bool wasi, char **error);
plugin *extism_plugin_new_from_compiled(const compiled *compiled, char **error);
void extism_compiled_plugin_free(compiled *compiled);
void extism_plugin_free(plugin *plugin);
int32_t extism_plugin_call(plugin *plugin, const char *name, const uint8_t *data, uint64_t length);
const char *extism_plugin_error(plugin *plugin);
uint64_t extism_plugin_output_length(plugin *plugin);
const uint8_t *extism_plugin_output_data(plugin *plugin);
const char *extism_version(void);

/* Compiling uses several threads, so that the time of day is taken for it. */
static clockid_t clock_used = CLOCK_THREAD_CPUTIME_ID;

static double now(void) {
  struct timespec time;
  clock_gettime(clock_used, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint8_t wasm[4 << 20];
static uint64_t wasm_size;
static compiled *code;

static void fail(const char *what, const char *message) {
  fprintf(stderr, "%s: %s\n", what, message != NULL ? message : "no reason given");
  exit(1);
}

static void compile(void) {
  char *error = NULL;
  code = extism_compiled_plugin_new(wasm, wasm_size, NULL, 0, true, &error);
  if (code == NULL) fail("compiling", error);
}

static plugin *new_plugin(void) {
  char *error = NULL;
  plugin *made = extism_plugin_new_from_compiled(code, &error);
  if (made == NULL) fail("a new plug-in", error);
  return made;
}

static void call(plugin *plugin, const char *name, const char *data, size_t length, const char *expected) {
  if (extism_plugin_call(plugin, name, (const uint8_t *)data, length) != 0) fail(name, extism_plugin_error(plugin));
  if (expected != NULL) {
    uint64_t got = extism_plugin_output_length(plugin);
    if (got != strlen(expected) || memcmp(extism_plugin_output_data(plugin), expected, got) != 0) fail(name, "a wrong answer");
  }
}

static void eval(plugin *plugin) {
  static const char job[] = "{\"source\": \"return 1+1\", \"args\": []}";
  call(plugin, "eval", job, sizeof job - 1, "2");
}

static void first(plugin *unused) {
  plugin *made = new_plugin();
  (void)unused;
  eval(made);
  extism_plugin_free(made);
}

static void cold(plugin *unused) {
  extism_compiled_plugin_free(code);
  compile();
  first(unused);
}

static void sum(plugin *plugin) {
  char job[64];
  int length = snprintf(job, sizeof job, "[\"sum\",%d,%d]", 1, 2);
  call(plugin, "call", job, (size_t)length, "3");
}

static void records_in(plugin *plugin) {
  enum { RECORDS = 1000, EACH = 96 };
  char *job = malloc(RECORDS * EACH + 64);
  size_t length;
  if (job == NULL) fail("malloc", "no memory");
  length = (size_t)sprintf(job, "[\"total\",[");
  for (int i = 1; i <= RECORDS; i++) {
    length += (size_t)sprintf(job + length, "%s{\"id\":%d,\"name\":\"record %d\",\"value\":%.17g}", i > 1 ? "," : "", i, i, i * 0.5);
  }
  length += (size_t)sprintf(job + length, "]]");
  call(plugin, "call", job, length, "760643");
  free(job);
}

typedef struct {
  long id;
  char *name;
  double value;
} record;

/* Reads the list of records that `make` gives, and nothing else: less than a reader for all of JSON has to do. */
static int read_records(const char *p, const char *end, record *records, int room) {
  int count = 0;
  while ((p = memchr(p, '{', (size_t)(end - p))) != NULL && count < room) {
    record *r = &records[count++];
    while (*p != '}') {
      const char *key = p + 2;
      if (strncmp(key, "id\":", 4) == 0) {
        r->id = strtol(key + 4, (char **)&p, 10);
      } else if (strncmp(key, "value\":", 7) == 0) {
        r->value = strtod(key + 7, (char **)&p);
      } else if (strncmp(key, "name\":\"", 7) == 0) {
        const char *quote = memchr(key + 7, '"', (size_t)(end - key - 7));
        if (quote == NULL) fail("make", "a string without an end");
        r->name = strndup(key + 7, (size_t)(quote - key - 7));
        p = quote + 1;
      } else {
        fail("make", "an unknown field");
      }
    }
  }
  return count;
}

static void records_out(plugin *plugin) {
  enum { RECORDS = 1000 };
  static const char job[] = "[\"make\"]";
  record *records = calloc(RECORDS, sizeof *records);
  const char *text;
  double total = 0;
  if (records == NULL) fail("calloc", "no memory");
  call(plugin, "call", job, sizeof job - 1, NULL);
  text = (const char *)extism_plugin_output_data(plugin);
  if (read_records(text, text + extism_plugin_output_length(plugin), records, RECORDS) != RECORDS) fail("make", "records are missing");
  for (int i = 0; i < RECORDS; i++) {
    total += (double)records[i].id + (double)strlen(records[i].name) + records[i].value;
    free(records[i].name);
  }
  free(records);
  if (total != 760643.0) fail("make", "the records add up to something else");
}

/* As in the bench runner's values.rs. */
static const char FUNCTIONS[] =
  "function sum(a, b) return a + b end "
  "function total(list) local s = 0 for i = 1, #list do local r = list[i] s = s + r.id + r.value + #r.name end return s end "
  "local kept = {} for i = 1, 1000 do kept[i] = {id = i, name = 'record ' .. i, value = i * 0.5} end "
  "function make() return kept end";

static const struct {
  const char *name;
  void (*run)(plugin *plugin);
} OPERATIONS[] = {
  {"compile", cold}, {"first", first}, {"eval", eval}, {"call", sum}, {"records-in", records_in}, {"records-out", records_out},
};

int main(int argc, char **argv) {
  int count = argc == 4 ? atoi(argv[2]) : 0;
  FILE *file = argc == 4 ? fopen(argv[3], "rb") : NULL;
  if (argc == 2 && strcmp(argv[1], "version") == 0) {
    puts(extism_version());
    return 0;
  }
  if (count <= 0 || file == NULL) {
    fputs("usage: extism MODE COUNT PLUGIN.WASM\n", stderr);
    return 2;
  }
  wasm_size = fread(wasm, 1, sizeof wasm, file);
  fclose(file);
  compile();
  for (size_t which = 0; which < sizeof OPERATIONS / sizeof *OPERATIONS; which++) {
    if (strcmp(argv[1], OPERATIONS[which].name) == 0) {
      plugin *plugin = new_plugin();
      double start;
      if (OPERATIONS[which].run == cold) clock_used = CLOCK_MONOTONIC;
      call(plugin, "define", FUNCTIONS, sizeof FUNCTIONS - 1, NULL);
      for (int i = 0; i < count / 10; i++) OPERATIONS[which].run(plugin);
      start = now();
      for (int i = 0; i < count; i++) OPERATIONS[which].run(plugin);
      printf("%.2f\n", (now() - start) / count);
      extism_plugin_free(plugin);
      extism_compiled_plugin_free(code);
      return 0;
    }
  }
  fail(argv[1], "not known");
}
