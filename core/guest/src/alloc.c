/*
** Memory: Lua's allocator and the guest's own buffers, counted together
** against one limit.
*/
#include "luacell.h"

#include <stdlib.h>

static size_t in_use;
static size_t limit; /* 0: none */

void *luacell_realloc (void *ptr, size_t osize, size_t nsize) {
  void *result;
  if (nsize == 0) {
    free(ptr);
    in_use -= osize;
    return NULL;
  }
  if (nsize > osize && limit != 0) {
    size_t growth = nsize - osize;
    if (in_use >= limit || growth > limit - in_use) return NULL;
  }
  result = realloc(ptr, nsize);
  if (result != NULL) in_use += nsize - osize;
  return result;
}

size_t luacell_bytes_in_use (void) { return in_use; }

void luacell_set_limit (size_t bytes) { limit = bytes; }

/* For a new object Lua passes its type as 'osize', which is no size. */
EXPORT(lua_alloc)
void *lua_alloc (void *ud, void *ptr, size_t osize, size_t nsize) {
  (void)ud;
  return luacell_realloc(ptr, ptr == NULL ? 0 : osize, nsize);
}
