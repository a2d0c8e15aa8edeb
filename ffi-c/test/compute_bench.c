/* Mean nanoseconds of luacell_compute("return 1+1"), measured as `bench-runner compute` does it for the Rust interface: `make speed`. */
#include <luacell.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void one_plus_one(luacell_sandbox *sandbox) {
  luacell_outcome *outcome = NULL;
  int64_t two = 0;
  if (luacell_compute(sandbox, "return 1+1", 10, NULL, &outcome, NULL) != LUACELL_OK) exit(1);
  if (luacell_value_to_integer(luacell_outcome_value(outcome), &two, NULL) != LUACELL_OK || two != 2) exit(1);
  luacell_outcome_free(outcome);
}

int main(int argc, char **argv) {
  int count = argc == 2 ? atoi(argv[1]) : 0;
  luacell_sandbox *sandbox = NULL;
  if (count <= 0 || luacell_sandbox_new(NULL, NULL, &sandbox, NULL) != LUACELL_OK) return 2;
  for (int i = 0; i < count / 10; i++) one_plus_one(sandbox);
  double start = now();
  for (int i = 0; i < count; i++) one_plus_one(sandbox);
  printf("%.2f\n", (now() - start) / count);
  luacell_sandbox_free(sandbox);
  return 0;
}
