/* What the tests do again and again. */
#ifndef RUN_H
#define RUN_H

#include <luacell.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

/* Where `fails` looks for the error, and ends it. */
static luacell_error *last;

static inline bool is_text(luacell_bytes bytes, const char *text) {
  return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

static inline bool is_string(const luacell_value *value, const char *text) {
  luacell_bytes bytes = {NULL, 0};
  return luacell_value_to_string(value, &bytes, NULL) == LUACELL_OK && is_text(bytes, text);
}

static inline bool is_integer(const luacell_value *value, int64_t integer) {
  int64_t found = 0;
  return luacell_value_to_integer(value, &found, NULL) == LUACELL_OK && found == integer;
}

static inline luacell_sandbox *new_sandbox(const luacell_sandbox_config *config) {
  luacell_sandbox *sandbox = NULL;
  luacell_status status = luacell_sandbox_new(NULL, config, &sandbox, &last);
  CHECK(status == LUACELL_OK, "%.*s", (int)luacell_error_message(last).len, luacell_error_message(last).data);
  if (status != LUACELL_OK) exit(tests_end());
  return sandbox;
}

static inline luacell_status compute(luacell_sandbox *sandbox, const char *source) {
  return luacell_compute(sandbox, source, strlen(source), NULL, NULL, &last);
}

/* Runs what has to succeed; the outcome is to be freed. */
static inline luacell_outcome *run(luacell_sandbox *sandbox, const char *source) {
  luacell_outcome *outcome = NULL;
  luacell_status status = luacell_compute(sandbox, source, strlen(source), NULL, &outcome, &last);
  luacell_bytes message = luacell_error_message(last);
  CHECK(status == LUACELL_OK, "%s: %.*s", source, (int)message.len, message.data != NULL ? message.data : "");
  luacell_error_free(last);
  last = NULL;
  return outcome;
}

/* A call that has to fail; its error was written to `last`. */
#define fails(status, wanted, part) check_failure((status), (wanted), (part), __LINE__)
static inline void check_failure(luacell_status status, luacell_status wanted, const char *part, int line) {
  luacell_bytes message = luacell_error_message(last);
  CHECK(status == wanted && luacell_error_status(last) == wanted, "line %d: %s: %.*s", line, luacell_status_name(status),
        (int)message.len, message.data != NULL ? message.data : "");
  CHECK(message.len >= strlen(part) && memmem(message.data != NULL ? message.data : "", message.len, part, strlen(part)) != NULL,
        "line %d: %.*s", line, (int)message.len, message.data != NULL ? message.data : "");
  luacell_error_free(last);
  last = NULL;
}

#endif
