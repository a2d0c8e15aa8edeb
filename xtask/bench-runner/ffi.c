/*
** The C library's side of `cargo xtask bench`, as bench-runner measures the Rust interface: the same modes.
**
**   ffi create|first|compute|call|hostcall|records-in|records-out COUNT   prints nanoseconds for each
*/
#include <luacell.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void check(luacell_status status, luacell_error *error) {
  if (status != LUACELL_OK) {
    luacell_bytes message = luacell_error_message(error);
    fprintf(stderr, "%s: %.*s\n", luacell_status_name(status), (int)message.len, message.data);
    exit(1);
  }
}

static void expect(int right, const char *message) {
  if (!right) {
    fprintf(stderr, "%s\n", message);
    exit(1);
  }
}

static luacell_sandbox *new_sandbox(void) {
  luacell_sandbox *sandbox = NULL;
  luacell_error *error = NULL;
  check(luacell_sandbox_new(NULL, NULL, &sandbox, &error), error);
  return sandbox;
}

static luacell_outcome *run(luacell_sandbox *sandbox, const char *source, const luacell_values *args) {
  luacell_compute_options options = {.size = sizeof options, .args = args};
  luacell_outcome *outcome = NULL;
  luacell_error *error = NULL;
  check(luacell_compute(sandbox, source, strlen(source), args != NULL ? &options : NULL, &outcome, &error), error);
  return outcome;
}

/* The arguments are freed. */
static luacell_outcome *call(luacell_sandbox *sandbox, const char *name, luacell_values *args) {
  luacell_compute_options options = {.size = sizeof options, .args = args};
  luacell_outcome *outcome = NULL;
  luacell_error *error = NULL;
  check(luacell_call(sandbox, name, strlen(name), &options, &outcome, &error), error);
  luacell_values_free(args);
  return outcome;
}

static void one_plus_one(luacell_sandbox *sandbox) {
  luacell_outcome *outcome = run(sandbox, "return 1+1", NULL);
  int64_t two = 0;
  check(luacell_value_to_integer(luacell_outcome_value(outcome), &two, NULL), NULL);
  expect(two == 2, "1+1 is not 2");
  luacell_outcome_free(outcome);
}

static void sum(luacell_sandbox *sandbox) {
  luacell_values *args = luacell_values_new();
  luacell_outcome *outcome;
  int64_t three = 0;
  luacell_values_push_integer(args, 1, NULL);
  luacell_values_push_integer(args, 2, NULL);
  outcome = call(sandbox, "sum", args);
  check(luacell_value_to_integer(luacell_outcome_value(outcome), &three, NULL), NULL);
  expect(three == 3, "1+2 is not 3");
  luacell_outcome_free(outcome);
}

/* The value is freed. */
static void set(luacell_value *table, const char *name, luacell_value *value) {
  check(luacell_table_set_field(table, name, strlen(name), value, NULL), NULL);
  luacell_value_free(value);
}

enum { RECORDS = 1000 };

static const double TOTAL = 760643.0;

static void records_in(luacell_sandbox *sandbox) {
  luacell_value *list = luacell_value_new_table();
  luacell_values *args = luacell_values_new();
  luacell_outcome *outcome;
  double total = 0;
  for (int i = 1; i <= RECORDS; i++) {
    luacell_value *record = luacell_value_new_table();
    char name[32];
    int length = snprintf(name, sizeof name, "record %d", i);
    set(record, "id", luacell_value_new_integer(i));
    set(record, "name", luacell_value_new_string(name, (size_t)length));
    set(record, "value", luacell_value_new_float(i * 0.5));
    check(luacell_table_push(list, record, NULL), NULL);
    luacell_value_free(record);
  }
  check(luacell_values_push(args, list, NULL), NULL);
  luacell_value_free(list);
  outcome = call(sandbox, "total", args);
  check(luacell_value_to_number(luacell_outcome_value(outcome), &total, NULL), NULL);
  expect(total == TOTAL, "the records add up to something else");
  luacell_outcome_free(outcome);
}

static luacell_value *get(const luacell_value *table, const char *name) {
  luacell_value *value = NULL;
  check(luacell_table_get_field(table, name, strlen(name), &value, NULL), NULL);
  return value;
}

static void records_out(luacell_sandbox *sandbox) {
  luacell_outcome *outcome = call(sandbox, "make", luacell_values_new());
  luacell_values *entries = NULL;
  double total = 0;
  check(luacell_table_entries(luacell_outcome_value(outcome), &entries, NULL), NULL);
  expect(luacell_values_len(entries) == 2 * RECORDS, "some records are missing");
  for (size_t i = 0; i < RECORDS; i++) {
    const luacell_value *record = luacell_values_get(entries, 2 * i + 1);
    luacell_value *id = get(record, "id"), *name = get(record, "name"), *value = get(record, "value");
    int64_t integer = 0;
    double number = 0;
    luacell_bytes bytes = {NULL, 0};
    char *copy;
    check(luacell_value_to_integer(id, &integer, NULL), NULL);
    check(luacell_value_to_number(value, &number, NULL), NULL);
    check(luacell_value_to_string(name, &bytes, NULL), NULL);
    copy = malloc(bytes.len + 1);
    expect(copy != NULL, "no memory");
    memcpy(copy, bytes.data, bytes.len);
    copy[bytes.len] = 0;
    total += (double)integer + number + (double)strlen(copy);
    free(copy);
    luacell_value_free(id);
    luacell_value_free(name);
    luacell_value_free(value);
  }
  luacell_values_free(entries);
  luacell_outcome_free(outcome);
  expect(total == TOTAL, "the records add up to something else");
}

static void create(luacell_sandbox *unused) {
  (void)unused;
  luacell_sandbox_free(new_sandbox());
}

static void first(luacell_sandbox *unused) {
  luacell_sandbox *sandbox = new_sandbox();
  (void)unused;
  one_plus_one(sandbox);
  luacell_sandbox_free(sandbox);
}

static luacell_status add(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  int64_t a = 0;
  int64_t b = 0;
  luacell_status status = luacell_value_to_integer(luacell_values_get(args, 0), &a, error);
  (void)userdata;
  if (status == LUACELL_OK) status = luacell_value_to_integer(luacell_values_get(args, 1), &b, error);
  return status == LUACELL_OK ? luacell_values_push_integer(results, a + b, error) : status;
}

static double host_calls(int count) {
  const char *source = "local add = add for i = 1, ... do add(i, 2) end";
  luacell_sandbox *sandbox = new_sandbox();
  luacell_values *args = luacell_values_new();
  double start = 0;
  check(luacell_register(sandbox, "add", 3, add, NULL, NULL, NULL), NULL);
  luacell_values_push_integer(args, count, NULL);
  for (int round = 0; round < 2; round++) {
    start = now();
    luacell_outcome_free(run(sandbox, source, args));
  }
  luacell_values_free(args);
  luacell_sandbox_free(sandbox);
  return (now() - start) / count;
}

/* As in the bench runner's values.rs. */
static const char *const FUNCTIONS =
  "function sum(a, b) return a + b end "
  "function total(list) local s = 0 for i = 1, #list do local r = list[i] s = s + r.id + r.value + #r.name end return s end "
  "local kept = {} for i = 1, 1000 do kept[i] = {id = i, name = 'record ' .. i, value = i * 0.5} end "
  "function make() return kept end";

static const struct {
  const char *name;
  void (*run)(luacell_sandbox *sandbox);
} OPERATIONS[] = {
  {"create", create}, {"first", first}, {"compute", one_plus_one}, {"call", sum}, {"records-in", records_in}, {"records-out", records_out},
};

int main(int argc, char **argv) {
  int count = argc == 3 ? atoi(argv[2]) : 0;
  if (count > 0 && strcmp(argv[1], "hostcall") == 0) {
    printf("%.2f\n", host_calls(count));
    return 0;
  }
  for (size_t which = 0; count > 0 && which < sizeof OPERATIONS / sizeof *OPERATIONS; which++) {
    if (strcmp(argv[1], OPERATIONS[which].name) == 0) {
      luacell_sandbox *sandbox = new_sandbox();
      double start;
      luacell_outcome_free(run(sandbox, FUNCTIONS, NULL));
      for (int i = 0; i < count / 10; i++) OPERATIONS[which].run(sandbox);
      start = now();
      for (int i = 0; i < count; i++) OPERATIONS[which].run(sandbox);
      printf("%.2f\n", (now() - start) / count);
      luacell_sandbox_free(sandbox);
      return 0;
    }
  }
  fputs("usage: ffi MODE COUNT\n", stderr);
  return 2;
}
