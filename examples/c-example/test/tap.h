/* As much of the Test Anything Protocol as it takes: checks that fail name their place, tests are counted. */
#ifndef TAP_H
#define TAP_H

#include <stdbool.h>

/* Marks all tests as parts of one, which readers of the output need not show one by one. */
void tests_are_parts(void);

/* Begins the next test, and ends the one before. */
void test_begin(const char *name);
void test_end(void);

/* A check of the running test. `detail` follows the printf rules and is shown when it fails; true when it holds. */
#define CHECK(condition, ...) test_check((condition), __FILE__, __LINE__, #condition, " " __VA_ARGS__)
bool test_check(bool holds, const char *file, int line, const char *condition, const char *detail, ...)
    __attribute__((format(printf, 5, 6)));

/* Whether the running test has failed. */
bool test_failed(void);

/* Ends the last test and prints the totals; what main returns. */
int tests_end(void);

#endif
