/* Goes back to an earlier state, in the same process and from bytes. */
#include <luacell.h>
#include <stdio.h>
#include <string.h>

static void show(luacell_sandbox *sandbox, const char *when) {
  luacell_outcome *outcome = NULL;
  int64_t number = 0;
  if (luacell_call(sandbox, "next_number", 11, NULL, &outcome, NULL) == LUACELL_OK)
    luacell_value_to_integer(luacell_outcome_value(outcome), &number, NULL);
  printf("%s: %d\n", when, (int)number);
  luacell_outcome_free(outcome);
}

int main(void) {
  luacell_sandbox *sandbox = NULL, *elsewhere = NULL;
  luacell_snapshot *snapshot = NULL, *read = NULL;
  luacell_value *blob = NULL;
  luacell_bytes bytes;
  const char *source = "next_number = coroutine.wrap(function() for i = 1, 100 do coroutine.yield(i) end end)";
  if (luacell_sandbox_new(NULL, NULL, &sandbox, NULL) != LUACELL_OK) return 1;
  if (luacell_compute(sandbox, source, strlen(source), NULL, NULL, NULL) != LUACELL_OK) return 1;
  show(sandbox, "at first");
  if (luacell_sandbox_snapshot(sandbox, &snapshot, NULL) != LUACELL_OK) return 1;
  show(sandbox, "after the snapshot");
  show(sandbox, "and again");
  if (luacell_sandbox_restore(sandbox, snapshot, NULL) != LUACELL_OK) return 1;
  show(sandbox, "restored");

  /* Bytes can be kept in a file, and read by another process. */
  if (luacell_snapshot_to_bytes(snapshot, &blob, NULL) != LUACELL_OK) return 1;
  luacell_value_to_string(blob, &bytes, NULL);
  if (luacell_snapshot_from_bytes(NULL, bytes.data, bytes.len, &read, NULL) != LUACELL_OK) return 1;
  if (luacell_sandbox_new_from_snapshot(NULL, read, NULL, &elsewhere, NULL) != LUACELL_OK) return 1;
  show(elsewhere, "elsewhere");
  luacell_value_free(blob);
  luacell_snapshot_free(snapshot), luacell_snapshot_free(read);
  luacell_sandbox_free(sandbox), luacell_sandbox_free(elsewhere);
  return 0;
}
