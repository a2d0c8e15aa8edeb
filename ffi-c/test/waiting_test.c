/* Runs that wait, for whoever started them: requests, answers, durable runs. */
#include <luacell.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run.h"

static luacell_sandbox *asking(const luacell_sandbox_config *config) {
  luacell_sandbox *sandbox = new_sandbox(config);
  CHECK(luacell_declare(sandbox, "ask", 3, NULL) == LUACELL_OK);
  return sandbox;
}

static luacell_run *start_with(luacell_sandbox *sandbox, const char *source, const luacell_compute_options *options) {
  luacell_run *started = NULL;
  CHECK(luacell_start(sandbox, source, strlen(source), options, &started, NULL) == LUACELL_OK, "%s", source);
  return started;
}

static luacell_run *start(luacell_sandbox *sandbox, const char *source) { return start_with(sandbox, source, NULL); }

/* Whether it waits for exactly one call of `ask`, of this id and with this text as its argument. */
static bool waits_for(const luacell_run *run, uint64_t id, const char *text) {
  luacell_requests *requests = NULL;
  bool same = luacell_run_is_waiting(run) && luacell_run_requests(run, &requests, NULL) == LUACELL_OK &&
              luacell_requests_len(requests) == 1 && luacell_requests_id(requests, 0) == id && is_text(luacell_requests_name(requests, 0), "ask") &&
              is_string(luacell_values_get(luacell_requests_args(requests, 0), 0), text);
  luacell_requests_free(requests);
  return same;
}

static luacell_status answer_text(luacell_run *run, uint64_t id, const char *text) {
  luacell_values *values = luacell_values_new();
  luacell_values_push_string(values, text, strlen(text), NULL);
  luacell_status status = luacell_run_answer(run, id, values, &last);
  luacell_values_free(values);
  return status;
}

static void go_on(luacell_run *run, uint64_t id, const char *text) {
  CHECK(answer_text(run, id, text) == LUACELL_OK);
  CHECK(luacell_run_resume(run, NULL) == LUACELL_OK);
}

/* Whether it is done, with this text. */
static bool gave(const luacell_run *run, const char *text) {
  luacell_outcome *outcome = NULL;
  bool same = !luacell_run_is_waiting(run) && luacell_run_result(run, &outcome, NULL) == LUACELL_OK &&
              is_string(luacell_outcome_value(outcome), text);
  luacell_outcome_free(outcome);
  return same;
}

static void answers(void) {
  test_begin("a run waits for its answers");
  luacell_sandbox *sandbox = asking(NULL);
  luacell_run *run = start(sandbox, "print('a') local a = ask('q') print('b') return a .. ask('r')");
  CHECK(luacell_run_name(run).data == NULL);
  CHECK(waits_for(run, 1, "q"));
  fails(luacell_run_result(run, NULL, &last), LUACELL_BUSY, "waits");
  fails(answer_text(run, 2, "x"), LUACELL_INVALID_ARGUMENT, "no open request 2");
  CHECK(answer_text(run, 1, "yes") == LUACELL_OK);
  fails(answer_text(run, 1, "again"), LUACELL_INVALID_ARGUMENT, "no open request 1");
  CHECK(luacell_run_resume(run, NULL) == LUACELL_OK);
  CHECK(waits_for(run, 2, "r"));
  go_on(run, 2, "!");
  CHECK(gave(run, "yes!") && gave(run, "yes!"));
  luacell_outcome *outcome = NULL;
  CHECK(luacell_run_result(run, &outcome, NULL) == LUACELL_OK && is_text(luacell_outcome_output(outcome), "a\nb\n"));
  luacell_outcome_free(outcome);
  CHECK(luacell_run_result(run, NULL, NULL) == LUACELL_OK && luacell_run_renew(run, NULL) == LUACELL_OK);
  fails(luacell_run_resume(run, &last), LUACELL_INVALID_ARGUMENT, "done");
  fails(answer_text(run, 2, "x"), LUACELL_INVALID_ARGUMENT, "done");
  luacell_requests *requests = NULL;
  CHECK(luacell_run_requests(run, &requests, NULL) == LUACELL_OK && luacell_requests_len(requests) == 0);
  CHECK(luacell_requests_id(requests, 0) == 0 && luacell_requests_name(requests, 0).data == NULL && luacell_requests_args(requests, 0) == NULL);
  luacell_requests_free(requests);
  luacell_run_cancel(run);
  CHECK(gave(run, "yes!"), "what is done is not cancelled");
  luacell_run_free(run);
  run = start(sandbox, "return (ask('nothing'))");
  CHECK(luacell_run_answer(run, 1, NULL, NULL) == LUACELL_OK && luacell_run_resume(run, NULL) == LUACELL_OK);
  CHECK(luacell_run_result(run, &outcome, NULL) == LUACELL_OK && luacell_value_type(luacell_outcome_value(outcome)) == LUACELL_TYPE_NIL);
  luacell_outcome_free(outcome), luacell_run_free(run);
  fails(compute(sandbox, "return ask()"), LUACELL_HOST_FUNCTION, "whoever starts the run");
  bool there = false;
  CHECK(luacell_unregister(sandbox, "ask", 3, &there, NULL) == LUACELL_OK && there);
  luacell_sandbox_free(sandbox);
}

static void no_wait(void) {
  test_begin("a run that asks nothing is done at once, whatever it gives");
  luacell_sandbox *sandbox = asking(NULL);
  luacell_values *args = luacell_values_new();
  luacell_values_push_string(args, "x", 1, NULL);
  luacell_compute_options options = {.size = sizeof options, .args = args, .name = "=here", .name_len = 5};
  luacell_run *run = start_with(sandbox, "return ... .. 'y'", &options), *failed = start_with(sandbox, "error('no')", &options);
  CHECK(gave(run, "xy"));
  fails(luacell_run_result(failed, NULL, &last), LUACELL_RUNTIME, "here:1: no");
  luacell_run_free(run), luacell_run_free(failed);
  CHECK(compute(sandbox, "function twice(x) return ask(x) .. x end") == LUACELL_OK);
  CHECK(luacell_start_call(sandbox, "twice", 5, &options, &run, NULL) == LUACELL_OK && waits_for(run, 1, "x"));
  go_on(run, 1, "z");
  CHECK(gave(run, "zx"));
  luacell_run_free(run), luacell_values_free(args);
  run = NULL;
  fails(luacell_start(sandbox, "return 1", 8, NULL, NULL, &last), LUACELL_INVALID_ARGUMENT, "run is NULL");
  options = (luacell_compute_options){.size = sizeof options, .durable = "d", .durable_len = 1};
  fails(luacell_compute(sandbox, "return 1", 8, &options, NULL, &last), LUACELL_INVALID_ARGUMENT, "start");
  fails(luacell_declare(sandbox, "not a name", 10, &last), LUACELL_INVALID_ARGUMENT, "");
  luacell_sandbox_close(sandbox, NULL);
  fails(luacell_start(sandbox, "return 1", 8, NULL, &run, &last), LUACELL_CLOSED, "");
  CHECK(run == NULL);
  luacell_sandbox_free(sandbox);
}

static int ended;
static void end(void *userdata) {
  (void)userdata;
  ended++;
}

static void errors(void) {
  test_begin("a request fails with an error, which the script can catch");
  static int mine;
  luacell_sandbox *sandbox = asking(NULL);
  luacell_error *failure = luacell_error_new("no such thing", 13, &mine, end), *error = NULL;
  luacell_run *run = start(sandbox, "return select(2, pcall(ask, 'q')) .. '!'");
  fails(luacell_run_fail(run, 1, NULL, &last), LUACELL_INVALID_ARGUMENT, "failure is NULL");
  fails(luacell_run_fail(run, 9, failure, &last), LUACELL_INVALID_ARGUMENT, "no open request");
  CHECK(luacell_run_fail(run, 1, failure, NULL) == LUACELL_OK && luacell_run_resume(run, NULL) == LUACELL_OK);
  CHECK(gave(run, "no such thing!"));
  luacell_run_free(run);
  run = start(sandbox, "ask('q')");
  CHECK(luacell_run_fail(run, 1, failure, NULL) == LUACELL_OK);
  luacell_error_free(failure);
  CHECK(luacell_run_resume(run, NULL) == LUACELL_OK, "what the script fails with is the run's result");
  CHECK(luacell_run_result(run, NULL, &error) == LUACELL_HOST_FUNCTION && luacell_error_userdata(error) == &mine);
  luacell_run_free(run);
  CHECK(ended == 0);
  luacell_error_free(error), luacell_sandbox_free(sandbox);
  CHECK(ended == 1, "%d", ended);
}

static void ends(void) {
  test_begin("a run that waits is cancelled, left, outlives its sandbox");
  luacell_sandbox *sandbox = asking(NULL);
  luacell_run *run = start(sandbox, "_home.x = 1 ask('q')"), *second = NULL;
  fails(luacell_start(sandbox, "return 1", 8, NULL, &second, &last), LUACELL_BUSY, "");
  luacell_run_cancel(run);
  CHECK(!luacell_run_is_waiting(run));
  fails(luacell_run_result(run, NULL, &last), LUACELL_CLOSED, "cancelled");
  CHECK(compute(sandbox, "assert(_home.x == nil)") == LUACELL_OK);
  luacell_run_free(run);
  luacell_run_free(start(sandbox, "_home.x = 1 ask('q')"));
  CHECK(compute(sandbox, "assert(_home.x == nil)") == LUACELL_OK);
  luacell_canceller *canceller = luacell_canceller_new();
  luacell_compute_options options = {.size = sizeof options, .canceller = canceller};
  run = start_with(sandbox, "ask('q') while true do end", &options);
  CHECK(answer_text(run, 1, "x") == LUACELL_OK);
  luacell_canceller_cancel(canceller);
  CHECK(luacell_run_resume(run, NULL) == LUACELL_OK);
  fails(luacell_run_result(run, NULL, &last), LUACELL_INTERRUPTED, "");
  luacell_run_free(run), luacell_canceller_free(canceller);
  run = start(sandbox, "return ask('q')");
  luacell_sandbox_free(sandbox);
  CHECK(waits_for(run, 1, "q"));
  go_on(run, 1, "still");
  CHECK(gave(run, "still"));
  luacell_run_free(run);
  sandbox = asking(NULL);
  run = start(sandbox, "return ask('q')");
  luacell_sandbox_close(sandbox, NULL);
  CHECK(!luacell_run_is_waiting(run));
  fails(answer_text(run, 1, "x"), LUACELL_CLOSED, "");
  luacell_run_free(run), luacell_sandbox_free(sandbox);
  luacell_run_free(NULL), luacell_run_cancel(NULL), luacell_requests_free(NULL), luacell_pending_runs_free(NULL);
  CHECK(!luacell_run_is_waiting(NULL) && luacell_requests_len(NULL) == 0 && luacell_pending_runs_len(NULL) == 0);
  fails(luacell_run_resume(NULL, &last), LUACELL_INVALID_ARGUMENT, "run is NULL");
}

static void *answer_elsewhere(void *run) {
  go_on(run, 2, "B");
  go_on(run, 1, "A");
  return NULL;
}

static void tasks(void) {
  test_begin("tasks wait side by side, and another thread answers");
  luacell_sandbox *sandbox = asking(NULL);
  luacell_requests *requests = NULL;
  luacell_run *run = start(sandbox, "local task = require 'task'\n"
                                    "local a, b = task.all(function() return ask('a') end, function() return ask('b') end) return a .. b");
  CHECK(luacell_run_requests(run, &requests, NULL) == LUACELL_OK && luacell_requests_len(requests) == 2);
  CHECK(luacell_requests_id(requests, 1) == 2 && is_string(luacell_values_get(luacell_requests_args(requests, 1), 0), "b"));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, answer_elsewhere, run) == 0 && pthread_join(thread, NULL) == 0);
  CHECK(gave(run, "AB"));
  luacell_requests_free(requests), luacell_run_free(run), luacell_sandbox_free(sandbox);
}

static void snapshots(void) {
  test_begin("a snapshot has the run that waits");
  luacell_sandbox *sandbox = asking(NULL), *other = NULL;
  luacell_snapshot *snapshot = NULL;
  luacell_run *run = start(sandbox, "local n = 'x' return n .. ask('q')"), *restored = NULL, *none = run;
  CHECK(luacell_sandbox_snapshot(sandbox, &snapshot, NULL) == LUACELL_OK);
  CHECK(luacell_sandbox_new_from_snapshot(NULL, snapshot, NULL, &other, NULL) == LUACELL_OK);
  CHECK(luacell_declare(other, "ask", 3, NULL) == LUACELL_OK);
  CHECK(luacell_sandbox_waiting_run(other, &restored, NULL) == LUACELL_OK && waits_for(restored, 1, "q"));
  CHECK(luacell_sandbox_waiting_run(other, &none, NULL) == LUACELL_OK && none == NULL);
  go_on(restored, 1, "1");
  CHECK(gave(restored, "x1"));
  go_on(run, 1, "2");
  CHECK(gave(run, "x2"));
  luacell_snapshot_free(snapshot), luacell_run_free(run), luacell_run_free(restored);
  luacell_sandbox_free(sandbox), luacell_sandbox_free(other);
}

/* Uses the run that has called it. */
static luacell_status meddle(void *place, const luacell_values *args, luacell_values *results, luacell_error **error) {
  luacell_run *run = *(luacell_run **)place;
  luacell_outcome *outcome = NULL;
  luacell_requests *requests = NULL;
  (void)args, (void)results, (void)error;
  luacell_run_cancel(run);
  CHECK(!luacell_run_is_waiting(run));
  fails(luacell_run_resume(run, &last), LUACELL_BUSY, "goes on");
  fails(luacell_run_answer(run, 2, NULL, &last), LUACELL_BUSY, "goes on");
  fails(luacell_run_result(run, &outcome, &last), LUACELL_BUSY, "");
  CHECK(luacell_run_requests(run, &requests, NULL) == LUACELL_OK && luacell_requests_len(requests) == 0);
  CHECK(luacell_run_renew(run, NULL) == LUACELL_OK);
  luacell_requests_free(requests);
  return LUACELL_OK;
}

static void used_inside(void) {
  test_begin("host functions of a run that goes on may use its handle");
  luacell_sandbox *sandbox = asking(NULL);
  luacell_run *run = NULL;
  CHECK(luacell_register(sandbox, "meddle", 6, meddle, &run, NULL, NULL) == LUACELL_OK);
  run = start(sandbox, "local a = ask('q') meddle() return a .. ask('r')");
  go_on(run, 1, "x");
  CHECK(waits_for(run, 2, "r"));
  go_on(run, 2, "y");
  CHECK(gave(run, "xy"));
  luacell_run_free(run), luacell_sandbox_free(sandbox);
}

/* The only run that waits in the store, and whether somebody has claimed it. */
static bool pending(luacell_sandbox *sandbox, const char *name, bool claimed) {
  luacell_pending_runs *runs = NULL;
  bool same = luacell_sandbox_pending_runs(sandbox, &runs, NULL) == LUACELL_OK && luacell_pending_runs_len(runs) == 1 &&
              is_text(luacell_pending_runs_name(runs, 0), name) && (luacell_pending_runs_claimed_ms(runs, 0) > 0) == claimed &&
              luacell_pending_runs_claimed_ms(runs, 0) <= 60000;
  luacell_pending_runs_free(runs);
  return same;
}

static void durable(void) {
  test_begin("a durable run goes on from its store");
  char folder[] = "/tmp/luacell-test-XXXXXX", path[300];
  CHECK(mkdtemp(folder) != NULL);
  int len = snprintf(path, sizeof path, "%s/runs.luacell", folder);
  luacell_sandbox_config config = {.size = sizeof config, .location = path, .location_len = (size_t)len, .claim_term_ms = 60000};
  luacell_compute_options options = {.size = sizeof options, .durable = "order-17", .durable_len = 8};
  luacell_sandbox *sandbox = asking(&config);
  luacell_run *run = start_with(sandbox, "_home.a = 'kept' local x = ask('first') _home.b = x return x .. ask('second')", &options);
  CHECK(is_text(luacell_run_name(run), "order-17") && waits_for(run, 1, "first"));
  go_on(run, 1, "one");
  CHECK(waits_for(run, 2, "second") && luacell_run_renew(run, NULL) == LUACELL_OK);
  luacell_run_free(run), luacell_sandbox_free(sandbox);

  luacell_store *store = NULL;
  CHECK(luacell_store_open_file(path, (size_t)len, NULL, &store, NULL) == LUACELL_OK);
  luacell_sandbox_config shared = {.size = sizeof shared, .store = store, .claim_term_ms = 60000};
  sandbox = asking(&shared);
  luacell_sandbox *other = asking(&shared);
  luacell_store_free(store);
  CHECK(compute(sandbox, "assert(_home.a == 'kept' and _home.b == 'one')") == LUACELL_OK);
  CHECK(pending(sandbox, "order-17", false));
  fails(luacell_sandbox_resume(sandbox, "none", 4, &run, &last), LUACELL_INVALID_ARGUMENT, "none");
  CHECK(luacell_sandbox_resume(sandbox, "order-17", 8, &run, NULL) == LUACELL_OK);
  CHECK(is_text(luacell_run_name(run), "order-17") && waits_for(run, 2, "second"));
  CHECK(pending(other, "order-17", true));
  luacell_run *second = NULL;
  bool there = true;
  fails(luacell_sandbox_resume(other, "order-17", 8, &second, &last), LUACELL_BUSY, "");
  fails(luacell_sandbox_drop_pending_run(other, "order-17", 8, &there, &last), LUACELL_BUSY, "");
  go_on(run, 2, "two");
  CHECK(gave(run, "onetwo") && is_text(luacell_run_name(run), "order-17"));
  luacell_run_free(run);
  CHECK(luacell_sandbox_drop_pending_run(other, "order-17", 8, &there, NULL) == LUACELL_OK && !there);
  luacell_run_free(start_with(sandbox, "_home.c = 'kept' ask('q')", &options));
  CHECK(pending(other, "order-17", false));
  CHECK(luacell_sandbox_drop_pending_run(other, "order-17", 8, &there, NULL) == LUACELL_OK && there);
  CHECK(compute(other, "assert(_home.c == 'kept')") == LUACELL_OK);
  run = start_with(sandbox, "ask('q')", &options);
  luacell_run_cancel(run);
  luacell_run_free(run);
  CHECK(luacell_sandbox_drop_pending_run(other, "order-17", 8, &there, NULL) == LUACELL_OK && !there, "cancelled, and so removed");
  options.durable_len = 0;
  fails(luacell_start(sandbox, "return 1", 8, &options, &run, &last), LUACELL_INVALID_ARGUMENT, "1 to 1000 bytes");
  luacell_sandbox_free(sandbox), luacell_sandbox_free(other);
  unlink(path), rmdir(folder);
}

/* Waits for its turn. */
static void *add_one(void *sandbox) {
  return compute(sandbox, "_home.n = (_home.n or 0) + 1") == LUACELL_OK ? sandbox : NULL;
}

static void turns(void) {
  test_begin("runs on one store take turns instead of colliding");
  char folder[] = "/tmp/luacell-test-XXXXXX", path[300];
  CHECK(mkdtemp(folder) != NULL);
  int len = snprintf(path, sizeof path, "%s/state.luacell", folder);
  luacell_sandbox_config config = {.size = sizeof config, .location = path, .location_len = (size_t)len, .conflict_retries = -1, .queue_runs = true};
  luacell_sandbox *sandbox = asking(&config), *other = asking(&config);
  luacell_run *run = start_with(sandbox, "local n = _home.n or 0 ask('q') _home.n = n + 1 return 'done'", NULL);
  /* This thread has to end the run first; another one can wait. */
  CHECK(compute(other, "_home.n = 5") == LUACELL_BUSY);
  pthread_t thread;
  void *added = NULL;
  CHECK(pthread_create(&thread, NULL, add_one, other) == 0);
  go_on(run, 1, "a");
  CHECK(gave(run, "done"));
  CHECK(pthread_join(thread, &added) == 0 && added == other);
  CHECK(compute(sandbox, "assert(_home.n == 2)") == LUACELL_OK);
  luacell_run_free(run);
  luacell_sandbox_free(sandbox), luacell_sandbox_free(other);
  unlink(path), rmdir(folder);
}

int main(void) {
  answers();
  no_wait();
  errors();
  ends();
  tasks();
  snapshots();
  used_inside();
  durable();
  turns();
  return tests_end();
}
