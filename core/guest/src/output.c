/*
** print: captured until the run ends.
*/
#include "luacell.h"

Bytes luacell_output;

static size_t limit; /* 0: none */

void output_set_limit (size_t bytes) { limit = bytes; }

static void write_output (lua_State *L, const char *s, size_t n) {
  if (limit != 0 && n > limit - luacell_output.len)
    luacell_refuse(L, KIND_OUTPUT_LIMIT);
  if (!bytes_add(&luacell_output, s, n)) luacell_memory_error(L);
}

int luacell_print (lua_State *L) {
  int n = lua_gettop(L);
  int i;
  for (i = 1; i <= n; i++) {
    size_t len;
    const char *s = luaL_tolstring(L, i, &len);
    if (i > 1) write_output(L, "\t", 1);
    write_output(L, s, len);
    lua_pop(L, 1);
  }
  write_output(L, "\n", 1);
  return 0;
}
