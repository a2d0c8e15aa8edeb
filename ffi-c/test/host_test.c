/* Host functions: userdata, finalizers, errors, and what they may do. Interrupts from threads and signal handlers. */
#include <luacell.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

typedef struct Counter {
  int calls, ended;
} Counter;

static void end_counter(void *userdata) {
  ((Counter *)userdata)->ended++;
}

static luacell_status count(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  Counter *counter = userdata;
  counter->calls++;
  luacell_status status = luacell_values_push_integer(results, counter->calls, error);
  if (status != LUACELL_OK) return status;
  return luacell_values_push_integer(results, (int64_t)luacell_values_len(args), error);
}

static void userdata_and_finalizers(void) {
  test_begin("a host function gets its userdata, and ends it once");
  Counter first = {0, 0}, second = {0, 0}, refused = {0, 0};
  luacell_sandbox *sandbox = new_sandbox(NULL);
  CHECK(luacell_register(sandbox, "app.count", 9, count, &first, end_counter, NULL) == LUACELL_OK);
  luacell_outcome *outcome = run(sandbox, "app.count() return app.count('a', nil)");
  CHECK(is_integer(luacell_outcome_value(outcome), 2));
  CHECK(is_integer(luacell_values_get(luacell_outcome_values(outcome), 1), 2));
  luacell_metrics metrics = {.size = sizeof metrics};
  CHECK(luacell_outcome_metrics(outcome, &metrics, NULL) == LUACELL_OK && metrics.host_calls == 2);
  luacell_outcome_free(outcome);
  CHECK(first.calls == 2 && first.ended == 0);
  CHECK(luacell_register_repeatable(sandbox, "app.count", 9, count, &second, end_counter, NULL) == LUACELL_OK);
  luacell_outcome_free(run(sandbox, "app.count()"));
  CHECK(second.calls == 1 && first.calls == 2);
  CHECK(luacell_register(NULL, "f", 1, count, &refused, end_counter, NULL) == LUACELL_INVALID_ARGUMENT);
  CHECK(refused.ended == 1, "the finalizer runs when the call fails");
  CHECK(luacell_register(sandbox, "", 0, count, &refused, end_counter, NULL) != LUACELL_OK);
  CHECK(refused.ended == 2, "%d", refused.ended);
  bool there = false;
  CHECK(luacell_unregister(sandbox, "app.count", 9, &there, NULL) == LUACELL_OK && there);
  CHECK(luacell_unregister(sandbox, "app.count", 9, &there, NULL) == LUACELL_OK && !there);
  fails(compute(sandbox, "app.count()"), LUACELL_RUNTIME, "");
  luacell_sandbox_free(sandbox);
  CHECK(first.ended == 1 && second.ended == 1, "%d %d", first.ended, second.ended);
}

static void replaced(void) {
  test_begin("a function that is replaced or taken away is ended at once");
  Counter counter = {0, 0};
  luacell_sandbox *sandbox = new_sandbox(NULL);
  for (int i = 0; i < 5000; i++) {
    CHECK(luacell_register(sandbox, "f", 1, count, &counter, end_counter, NULL) == LUACELL_OK);
    CHECK(counter.ended == i, "%d of %d", counter.ended, i);
  }
  luacell_outcome_free(run(sandbox, "assert(f() == 1)"));
  CHECK(luacell_unregister(sandbox, "f", 1, NULL, NULL) == LUACELL_OK);
  CHECK(counter.ended == 5000, "%d", counter.ended);
  luacell_sandbox_free(sandbox);
  CHECK(counter.ended == 5000, "%d", counter.ended);
}

static luacell_status fail(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)results;
  bool with_error = luacell_values_len(args) == 0;
  if (with_error) *error = luacell_error_new("no luck", 7, userdata, end_counter);
  return LUACELL_HOST_FUNCTION;
}

static luacell_status raise_table(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)userdata, (void)results;
  *error = luacell_error_raise(luacell_values_get(args, 0));
  return LUACELL_HOST_FUNCTION;
}

static void failing(void) {
  test_begin("a host function fails, and its error is found again");
  Counter counter = {0, 0};
  luacell_sandbox *sandbox = new_sandbox(NULL);
  CHECK(luacell_register(sandbox, "fail", 4, fail, &counter, NULL, NULL) == LUACELL_OK);
  CHECK(luacell_register(sandbox, "raise", 5, raise_table, NULL, NULL, NULL) == LUACELL_OK);
  luacell_error *error = NULL;
  CHECK(luacell_compute(sandbox, "fail()", 6, NULL, NULL, &error) == LUACELL_HOST_FUNCTION);
  CHECK(luacell_error_userdata(error) == &counter);
  CHECK(counter.ended == 0);
  luacell_error *copy = luacell_error_clone(error);
  luacell_error_free(error);
  CHECK(counter.ended == 0 && luacell_error_userdata(copy) == &counter && luacell_error_status(copy) == LUACELL_HOST_FUNCTION);
  luacell_error_free(copy);
  CHECK(counter.ended == 1 && luacell_error_clone(NULL) == NULL);
  luacell_outcome_free(run(sandbox, "local ok, e = pcall(fail) assert(not ok and e == 'no luck', e)"));
  luacell_outcome_free(run(sandbox, "local ok, e = pcall(raise, {code = 7}) assert(e.code == 7)"));
  fails(compute(sandbox, "fail(1)"), LUACELL_HOST_FUNCTION, "without an error");
  luacell_sandbox_free(sandbox);
  CHECK(counter.ended == 2, "%d", counter.ended);
}

static luacell_status nested(void *sandbox, const luacell_values *args, luacell_values *results, luacell_error **error) {
  luacell_outcome *outcome = NULL;
  luacell_value *home = NULL;
  luacell_status status = luacell_compute(sandbox, "return base + 1", 15, NULL, &outcome, error);
  if (status == LUACELL_OK) status = luacell_values_push(results, luacell_outcome_value(outcome), error);
  if (status == LUACELL_OK) status = luacell_sandbox_home(sandbox, &home, error);
  if (status == LUACELL_OK) status = luacell_table_set_field(home, "seen", 4, luacell_values_get(args, 0), error);
  luacell_value_free(home);
  luacell_outcome_free(outcome);
  return status;
}

static void nesting(void) {
  test_begin("a host function uses the sandbox that calls it");
  luacell_sandbox *sandbox = new_sandbox(NULL);
  CHECK(luacell_register(sandbox, "nested", 6, nested, sandbox, NULL, NULL) == LUACELL_OK);
  luacell_outcome *outcome = run(sandbox, "base = 41 return nested('x'), _home.seen");
  CHECK(is_integer(luacell_outcome_value(outcome), 42));
  CHECK(is_string(luacell_values_get(luacell_outcome_values(outcome), 1), "x"));
  luacell_outcome_free(outcome);
  fails(compute(sandbox, "nested('y') error('stop')"), LUACELL_RUNTIME, "stop");
  outcome = run(sandbox, "return _home.seen"); /* the failing run took it back */
  CHECK(is_string(luacell_outcome_value(outcome), "x"));
  luacell_outcome_free(outcome);
  luacell_sandbox_free(sandbox);
}

/* ---- interrupts ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool running;

static luacell_status started(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)userdata, (void)args, (void)results, (void)error;
  pthread_mutex_lock(&mutex);
  running = true;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&mutex);
  return LUACELL_OK;
}

static void *interrupt_when_running(void *interrupter) {
  pthread_mutex_lock(&mutex);
  while (!running) pthread_cond_wait(&changed, &mutex);
  pthread_mutex_unlock(&mutex);
  luacell_interrupter_interrupt(interrupter);
  return NULL;
}

static void from_a_thread(void) {
  test_begin("another thread interrupts a run");
  luacell_sandbox *sandbox = new_sandbox(NULL);
  luacell_interrupter *interrupter = NULL;
  pthread_t thread;
  CHECK(luacell_register(sandbox, "started", 7, started, NULL, NULL, NULL) == LUACELL_OK);
  CHECK(luacell_interrupter_new(sandbox, &interrupter, NULL) == LUACELL_OK);
  CHECK(pthread_create(&thread, NULL, interrupt_when_running, interrupter) == 0);
  fails(compute(sandbox, "started() while true do pcall(error) end"), LUACELL_INTERRUPTED, "");
  pthread_join(thread, NULL);
  luacell_outcome_free(run(sandbox, "return 1"));
  luacell_sandbox_free(sandbox);
  luacell_interrupter_interrupt(interrupter); /* nobody is there */
  luacell_interrupter_free(interrupter);
}

static luacell_sandbox *interrupted;

static void on_signal(int number) {
  (void)number;
  luacell_sandbox_interrupt(interrupted);
}

static luacell_status signal_self(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)userdata, (void)args, (void)results, (void)error;
  raise(SIGUSR1);
  return LUACELL_OK;
}

static void from_a_signal_handler(void) {
  test_begin("a signal handler interrupts a run");
  struct sigaction action, before;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  interrupted = new_sandbox(NULL);
  CHECK(luacell_register(interrupted, "signal", 6, signal_self, NULL, NULL, NULL) == LUACELL_OK);
  CHECK(sigaction(SIGUSR1, &action, &before) == 0);
  fails(compute(interrupted, "signal() while true do end"), LUACELL_INTERRUPTED, "");
  sigaction(SIGUSR1, &before, NULL);
  luacell_outcome_free(run(interrupted, "return 1"));
  luacell_sandbox_free(interrupted);
}

int main(void) {
  userdata_and_finalizers();
  replaced();
  failing();
  nesting();
  from_a_thread();
  from_a_signal_handler();
  return tests_end();
}
