/* Runs Lua, and reads what it returns and what went wrong. */
#include <inttypes.h>
#include <luacell.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  luacell_sandbox *sandbox = NULL;
  luacell_outcome *outcome = NULL;
  luacell_error *error = NULL;
  int64_t sum = 0;
  if (luacell_sandbox_new(NULL, NULL, &sandbox, &error) != LUACELL_OK) return 1;

  const char *source = "print('adding') return 1 + 1";
  if (luacell_compute(sandbox, source, strlen(source), NULL, &outcome, &error) != LUACELL_OK) return 1;
  luacell_bytes printed = luacell_outcome_output(outcome);
  luacell_value_to_integer(luacell_outcome_value(outcome), &sum, NULL);
  printf("printed: %.*s", (int)printed.len, printed.data);
  printf("result: %" PRId64 "\n", sum);
  luacell_outcome_free(outcome);

  const char *broken = "local t = nil return t.x";
  if (luacell_compute(sandbox, broken, strlen(broken), NULL, NULL, &error) != LUACELL_OK) {
    luacell_bytes message = luacell_error_message(error);
    printf("%s: %.*s\n", luacell_status_name(luacell_error_status(error)), (int)message.len, message.data);
    luacell_error_free(error);
  }
  luacell_sandbox_free(sandbox);
  return 0;
}
