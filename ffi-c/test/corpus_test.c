/* The conformance corpus (core/tests/cases, its README says what stands in it) through the C interface.
 * CASES=text runs only the cases whose name or file contains the text. */
#include <dirent.h>
#include <jansson.h>
#include <luacell.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "corpus_values.h"
#include "tap.h"

/* ---- what the host offers to scripts ---- */

static luacell_status echo(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  luacell_status status = LUACELL_OK;
  (void)userdata;
  for (size_t i = 0; status == LUACELL_OK && i < luacell_values_len(args); i++)
    status = luacell_values_push(results, luacell_values_get(args, i), error);
  return status;
}

static luacell_status add(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  int64_t a, b;
  (void)userdata;
  luacell_status status = luacell_value_to_integer(luacell_values_get(args, 0), &a, error);
  if (status == LUACELL_OK) status = luacell_value_to_integer(luacell_values_get(args, 1), &b, error);
  if (status != LUACELL_OK) return status;
  return luacell_values_push_integer(results, (int64_t)((uint64_t)a + (uint64_t)b), error);
}

static luacell_status fail(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  luacell_bytes text = {NULL, 0};
  (void)userdata, (void)results;
  luacell_status status = luacell_value_to_string(luacell_values_get(args, 0), &text, error);
  if (status != LUACELL_OK) return status;
  *error = luacell_error_new(text.data, text.len, NULL, NULL);
  return LUACELL_HOST_FUNCTION;
}

static luacell_status raise_value(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)userdata, (void)results;
  *error = luacell_error_raise(luacell_values_get(args, 0));
  return LUACELL_HOST_FUNCTION;
}

static luacell_status call(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  luacell_values *rest = luacell_values_new();
  luacell_outcome *outcome = NULL;
  luacell_status status = LUACELL_OK;
  for (size_t i = 1; status == LUACELL_OK && i < luacell_values_len(args); i++)
    status = luacell_values_push(rest, luacell_values_get(args, i), error);
  if (status == LUACELL_OK) status = luacell_function_call(luacell_values_get(args, 0), rest, &outcome, error);
  if (status == LUACELL_OK) status = echo(userdata, luacell_outcome_values(outcome), results, error);
  luacell_outcome_free(outcome);
  luacell_values_free(rest);
  return status;
}

static void register_function(luacell_sandbox *sandbox, const char *name) {
  static const struct {
    const char *name;
    luacell_host_function function;
  } functions[] = {{"host.echo", echo}, {"host.add", add}, {"host.fail", fail}, {"host.raise", raise_value}, {"host.call", call}};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    if (strcmp(functions[i].name, name) != 0) continue;
    CHECK(luacell_register(sandbox, name, strlen(name), functions[i].function, NULL, NULL, NULL) == LUACELL_OK);
    return;
  }
  CHECK(false, "unknown host function %s", name);
}

static luacell_status find_module(void *modules, const char *name, size_t name_len, luacell_sink *source, luacell_error **error) {
  const json_t *module = json_object_getn(modules, name, name_len);
  if (module == NULL) return LUACELL_OK;
  Text text = text_of(module);
  luacell_status status = luacell_sink_put(source, text.data, text.length, error);
  text_free(text);
  return status;
}

/* ---- checking ---- */

/* Takes a field out of an object, so that fields which nobody takes are found. The reference is the caller's. */
static json_t *field(json_t *object, const char *name) {
  json_t *value = json_incref(json_object_get(object, name));
  json_object_del(object, name);
  return value;
}

static void no_more_fields(json_t *object) {
  void *rest = json_object_iter(object);
  CHECK(rest == NULL, "unknown field %s", json_object_iter_key(rest));
}

static bool same_bytes(const json_t *want, luacell_bytes got) {
  Text text = text_of(want);
  bool same = text.length == got.len && (got.len == 0 || memcmp(text.data, got.data, got.len) == 0);
  text_free(text);
  return same;
}

static bool contains(luacell_bytes whole, const json_t *part) {
  return whole.data != NULL && memmem(whole.data, whole.len, json_string_value(part), json_string_length(part)) != NULL;
}

#define SHOWN(bytes) (int)((bytes).len < 500 ? (bytes).len : 500), (bytes).data != NULL ? (bytes).data : ""

static void check_error(const json_t *expected, const luacell_error *error) {
  json_t *fields = json_copy((json_t *)expected), *value;
  luacell_bytes message = luacell_error_message(error), chunk = luacell_error_chunk(error);
  if ((value = field(fields, "kind")) != NULL)
    CHECK(strcmp(json_string_value(value), luacell_status_name(luacell_error_status(error))) == 0, "%s: %.*s",
          luacell_status_name(luacell_error_status(error)), SHOWN(message));
  json_decref(value);
  if ((value = field(fields, "message")) != NULL) CHECK(same_bytes(value, message), "%.*s", SHOWN(message));
  json_decref(value);
  if ((value = field(fields, "message_contains")) != NULL) CHECK(contains(message, value), "%.*s", SHOWN(message));
  json_decref(value);
  if ((value = field(fields, "line")) != NULL)
    CHECK(json_integer_value(value) == luacell_error_line(error), "%u", luacell_error_line(error));
  json_decref(value);
  if ((value = field(fields, "chunk")) != NULL) CHECK(same_bytes(value, chunk), "%.*s", SHOWN(chunk));
  json_decref(value);
  if ((value = field(fields, "traceback_contains")) != NULL) CHECK(contains(luacell_error_traceback(error), value));
  json_decref(value);
  no_more_fields(fields);
  json_decref(fields);
}

/* ---- running ---- */

typedef struct Step {
  Text source;
  json_t *call, *chunk, *waits, *values, *output, *error;
  luacell_values *args, *input;
  bool has_source, reopen, gc;
} Step;

static Text source_of(json_t *fields, bool *there) {
  json_t *source = field(fields, "source"), *hex = field(fields, "source_hex"), *parts = field(fields, "source_parts");
  Text text = {NULL, 0};
  *there = source != NULL || hex != NULL || parts != NULL;
  if (source != NULL) text = text_of(source);
  if (hex != NULL) text = text_of_hex(json_string_value(hex));
  if (parts != NULL) text = text_of_parts(parts);
  json_decref(source), json_decref(hex), json_decref(parts);
  return text;
}

/* Whether the run waits for these requests and no others. */
static bool waits_for(const luacell_run *run, json_t *expected) {
  luacell_requests *requests = NULL;
  json_t *request;
  size_t i;
  if (!luacell_run_is_waiting(run) || luacell_run_requests(run, &requests, NULL) != LUACELL_OK) return false;
  bool same = luacell_requests_len(requests) == json_array_size(expected);
  json_array_foreach(expected, i, request) {
    json_t *fields = json_copy(request);
    json_t *id = field(fields, "id"), *name = field(fields, "name"), *args = field(fields, "args");
    same = same && json_integer_value(id) == (json_int_t)luacell_requests_id(requests, i) && same_bytes(name, luacell_requests_name(requests, i)) &&
           (args == NULL || same_values(args, luacell_requests_args(requests, i)));
    no_more_fields(fields);
    json_decref(id), json_decref(name), json_decref(args), json_decref(fields);
  }
  luacell_requests_free(requests);
  return same;
}

static void answer(luacell_run *run, json_t *one) {
  json_t *fields = json_copy(one);
  json_t *id = field(fields, "id"), *values = field(fields, "values"), *error = field(fields, "error");
  uint64_t number = (uint64_t)json_integer_value(id);
  CHECK((values == NULL) != (error == NULL), "an answer has values or an error");
  no_more_fields(fields);
  if (values != NULL) {
    luacell_values *given = values_of(values);
    CHECK(luacell_run_answer(run, number, given, NULL) == LUACELL_OK);
    luacell_values_free(given);
  }
  if (error != NULL) {
    Text text = text_of(error);
    luacell_error *failure = luacell_error_new(text.data, text.length, NULL, NULL);
    CHECK(luacell_run_fail(run, number, failure, NULL) == LUACELL_OK);
    luacell_error_free(failure), text_free(text);
  }
  json_decref(id), json_decref(values), json_decref(error), json_decref(fields);
}

/* Answers what a run waits for, each time that it waits, until it is done or cancelled. */
static void drive(luacell_run *run, json_t *waits) {
  json_t *wait, *one;
  size_t i, j;
  json_array_foreach(waits, i, wait) {
    json_t *fields = json_copy(wait);
    json_t *requests = field(fields, "requests"), *answers = field(fields, "answers");
    CHECK(requests != NULL && waits_for(run, requests), "wait %zu: other requests", i + 1);
    no_more_fields(fields);
    json_array_foreach(answers, j, one) answer(run, one);
    if (answers == NULL) luacell_run_cancel(run);
    else CHECK(luacell_run_resume(run, NULL) == LUACELL_OK);
    json_decref(requests), json_decref(answers), json_decref(fields);
    if (test_failed()) return;
  }
  CHECK(!luacell_run_is_waiting(run), "it waits once more");
}

/* Whether the last of these waits is cancelled: then the step has no end of its own. */
static bool is_cancelled(const json_t *waits) {
  const json_t *end = json_array_get(waits, json_array_size(waits) - 1);
  return end != NULL && json_object_get(end, "answers") == NULL;
}

static luacell_status start_run(luacell_sandbox *sandbox, const Step *step, const luacell_compute_options *options, luacell_outcome **outcome,
                                luacell_error **error) {
  luacell_run *run = NULL;
  luacell_status status = step->call != NULL
      ? luacell_start_call(sandbox, json_string_value(step->call), json_string_length(step->call), options, &run, error)
      : luacell_start(sandbox, step->source.data, step->source.length, options, &run, error);
  if (!CHECK(status == LUACELL_OK, "it was not started")) return status;
  drive(run, step->waits);
  if (!is_cancelled(step->waits)) status = luacell_run_result(run, outcome, error);
  luacell_run_free(run);
  return status;
}

static luacell_status start(luacell_sandbox *sandbox, const Step *step, luacell_outcome **outcome, luacell_error **error) {
  luacell_compute_options options = {.size = sizeof options, .args = step->args};
  if (step->input != NULL) return luacell_sandbox_set_input(sandbox, luacell_values_get(step->input, 0), error);
  if (step->reopen) return luacell_sandbox_reset(sandbox, error);
  if (step->gc) return luacell_sandbox_gc(sandbox, error);
  if (step->waits != NULL && step->call != NULL) return start_run(sandbox, step, &options, outcome, error);
  if (step->call != NULL)
    return luacell_call(sandbox, json_string_value(step->call), json_string_length(step->call), &options, outcome, error);
  if (step->chunk != NULL) {
    options.name = json_string_value(step->chunk);
    options.name_len = json_string_length(step->chunk);
  }
  if (step->waits != NULL) return start_run(sandbox, step, &options, outcome, error);
  bool plain = step->args == NULL && step->chunk == NULL;
  return luacell_compute(sandbox, step->source.data, step->source.length, plain ? NULL : &options, outcome, error);
}

static void run_once(luacell_sandbox *sandbox, const Step *step) {
  luacell_outcome *outcome = NULL;
  luacell_error *error = NULL;
  luacell_status status = start(sandbox, step, &outcome, &error);
  luacell_bytes output = status == LUACELL_OK ? luacell_outcome_output(outcome) : luacell_error_output(error);
  CHECK(status == luacell_error_status(error));
  if (step->error == NULL) {
    CHECK(status == LUACELL_OK, "%s: %.*s", luacell_status_name(status), SHOWN(luacell_error_message(error)));
    if (status == LUACELL_OK && step->values != NULL)
      CHECK(same_values(step->values, luacell_outcome_values(outcome)), "other values");
  } else if (CHECK(status != LUACELL_OK, "the step succeeded")) {
    check_error(step->error, error);
  }
  if (step->output != NULL) CHECK(same_bytes(step->output, output), "other output: %.*s", SHOWN(output));
  luacell_outcome_free(outcome);
  luacell_error_free(error);
}

static void run_step(luacell_sandbox *sandbox, const json_t *json) {
  json_t *fields = json_copy((json_t *)json);
  json_t *times = field(fields, "times"), *args = field(fields, "args"), *input = field(fields, "set_input");
  json_t *reopen = field(fields, "reopen"), *gc = field(fields, "gc");
  Step step = {.call = field(fields, "call"), .chunk = field(fields, "chunk"), .waits = field(fields, "waits"), .values = field(fields, "values"),
               .output = field(fields, "output"), .error = field(fields, "error"), .reopen = reopen != NULL, .gc = gc != NULL};
  step.source = source_of(fields, &step.has_source);
  no_more_fields(fields);
  if (args != NULL) step.args = values_of(args);
  if (input != NULL) {
    json_t *list = json_pack("[O]", input);
    step.input = values_of(list);
    json_decref(list);
  }
  CHECK(step.has_source + (step.call != NULL) + (step.input != NULL) + step.reopen + step.gc == 1, "a step does one thing");
  json_int_t rounds = times != NULL ? json_integer_value(times) : 1;
  for (json_int_t i = 0; i < rounds && !test_failed(); i++) run_once(sandbox, &step);
  text_free(step.source);
  luacell_values_free(step.args), luacell_values_free(step.input);
  json_decref(step.call), json_decref(step.chunk), json_decref(step.waits), json_decref(step.values);
  json_decref(step.output), json_decref(step.error);
  json_decref(times), json_decref(args), json_decref(input), json_decref(reopen), json_decref(gc), json_decref(fields);
}

static luacell_limits limits_of(json_t *json) {
  luacell_limits limits = {.size = sizeof limits};
  const struct {
    const char *name;
    uint64_t *place;
  } all[] = {{"memory_limit", &limits.memory_limit}, {"instruction_limit", &limits.instruction_limit},
             {"timeout", &limits.timeout_ms}, {"output_limit", &limits.output_limit}, {"store_limit", &limits.store_limit},
             {"store_entries", &limits.store_entries}, {"host_call_limit", &limits.host_call_limit},
             {"source_limit", &limits.source_limit}};
  json_t *fields = json != NULL ? json_copy(json) : json_object();
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    json_t *value = field(fields, all[i].name);
    if (value != NULL) *all[i].place = json_integer_value(value) != 0 ? (uint64_t)json_integer_value(value) : LUACELL_ZERO;
    json_decref(value);
  }
  no_more_fields(fields);
  json_decref(fields);
  return limits;
}

static void run_case(const json_t *one) {
  json_t *fields = json_copy((json_t *)one), *item;
  json_t *name = field(fields, "name"), *needs = field(fields, "needs"), *limited = field(fields, "limits");
  json_t *modules = field(fields, "modules"), *functions = field(fields, "functions"), *steps = field(fields, "steps");
  json_t *declared = field(fields, "declare");
  size_t i;
  no_more_fields(fields);
  luacell_limits limits = limits_of(limited);
  luacell_sandbox_config config = {.size = sizeof config, .limits = &limits};
  if (modules != NULL) {
    config.find_module = find_module;
    config.find_module_userdata = modules;
  }
  luacell_sandbox *sandbox = NULL;
  CHECK(luacell_sandbox_new(NULL, &config, &sandbox, NULL) == LUACELL_OK);
  json_array_foreach(functions, i, item) register_function(sandbox, json_string_value(item));
  json_array_foreach(declared, i, item)
    CHECK(luacell_declare(sandbox, json_string_value(item), json_string_length(item), NULL) == LUACELL_OK);
  CHECK(json_array_size(steps) > 0, "a case without steps");
  json_array_foreach(steps, i, item) {
    if (test_failed()) break;
    run_step(sandbox, item);
    if (test_failed()) printf("# step %zu\n", i + 1);
  }
  luacell_sandbox_free(sandbox);
  json_decref(name), json_decref(needs), json_decref(limited), json_decref(modules), json_decref(functions), json_decref(steps);
  json_decref(declared), json_decref(fields);
}

/* Runs the cases of one file; how many. */
static int run_file(const char *folder, const char *name) {
  char path[4096], title[4096];
  const char *only = getenv("CASES");
  json_error_t error;
  int count = 0;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &error);
  if (cases == NULL) {
    test_begin(name);
    CHECK(false, "%s, line %d", error.text, error.line);
    return 0;
  }
  size_t i;
  json_t *one;
  json_array_foreach(cases, i, one) {
    snprintf(title, sizeof title, "%s: %s", name, json_string_value(json_object_get(one, "name")));
    if (only != NULL && strstr(title, only) == NULL) continue;
    count++;
    test_begin(title);
    run_case(one);
    test_end();
  }
  json_decref(cases);
  return count;
}

static int is_json(const struct dirent *entry) {
  const char *ending = strrchr(entry->d_name, '.');
  return ending != NULL && strcmp(ending, ".json") == 0;
}

int main(int argc, char **argv) {
  struct dirent **files = NULL;
  if (argc != 2) {
    fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  int cases = 0, count = scandir(argv[1], &files, is_json, alphasort);
  tests_are_parts();
  for (int i = 0; i < count; i++) {
    cases += run_file(argv[1], files[i]->d_name);
    free(files[i]);
  }
  free(files);
  printf("# corpus: %d cases\n", cases);
  if (cases == 0) {
    test_begin("the corpus");
    CHECK(false, "no case ran");
  }
  return tests_end();
}
