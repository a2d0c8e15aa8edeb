/* Scripts that use too much are stopped; the sandbox can still be used. */
#include <luacell.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  luacell_limits limits = {.size = sizeof limits, .instruction_limit = 1000000, .memory_limit = 4 << 20, .output_limit = 1000};
  luacell_sandbox_config config = {.size = sizeof config, .limits = &limits};
  luacell_sandbox *sandbox = NULL;
  if (luacell_sandbox_new(NULL, &config, &sandbox, NULL) != LUACELL_OK) return 1;
  const char *scripts[] = {"while true do end", "return ('x'):rep(1 << 30)", "while true do print('spam') end", "return 'fine'"};
  for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
    luacell_status status = luacell_compute(sandbox, scripts[i], strlen(scripts[i]), NULL, NULL, NULL);
    printf("%s: %s\n", scripts[i], luacell_status_name(status));
  }
  luacell_sandbox_free(sandbox);
  return 0;
}
