#include "tap.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static const char *running;
static const char *indentation = "";
static bool failed;
static int passes, failures;

bool test_failed(void) {
  return failed;
}

void test_end(void) {
  if (running == NULL) return;
  printf("%s%s %d - %s\n", indentation, failed ? "not ok" : "ok", passes + failures + 1, running);
  if (failed) failures++;
  else passes++;
  running = NULL;
  fflush(stdout); /* what was printed is not lost when the next test crashes */
}

void tests_are_parts(void) {
  indentation = "    ";
}

void test_begin(const char *name) {
  test_end();
  running = name;
  failed = false;
}

bool test_check(bool holds, const char *file, int line, const char *condition, const char *detail, ...) {
  if (holds) return true;
  failed = true;
  va_list arguments;
  va_start(arguments, detail);
  printf("# %s:%d: %s: ", file, line, condition);
  vprintf(detail, arguments);
  putchar('\n');
  va_end(arguments);
  return false;
}

int tests_end(void) {
  test_end();
  printf("1..%d\n# pass %d\n# fail %d\n", passes + failures, passes, failures);
  return failures == 0 && passes > 0 ? 0 : 1;
}
