/*
** Growable byte buffers. They report failure instead of raising an error,
** so that a caller can leave its own data in order first.
*/
#include "luacell.h"

static Bytes *grown; /* the passing ones */

static void collect (lua_State *L, void *ud) {
  (void)ud;
  luacell_make_room(L);
}

int bytes_grow (Bytes *b, size_t extra) {
  size_t least, cap;
  int collected = 0;
  byte *p = NULL;
  if (extra > (size_t)INT_MAX - b->len) return 0;
#if defined(EMERGENCYGCTESTS)  /* the native guest: as Lua's own allocations */
  extern int native_fails (void);
  if (guest.L != NULL && native_fails())
    luaD_rawrunprotected(guest.L, collect, NULL);
#endif
  least = b->len + extra;
  if (least <= b->fixed_cap) {
    b->p = b->fixed;
    b->cap = b->fixed_cap;
    return 1;
  }
  cap = b->cap + b->cap / 2;
  /* room for more to come, near the limit less of it, and in the end what only
     garbage takes; but never so little that a long text would be moved, or all
     objects looked at, for every few bytes */
  least += b->len / 8;
  if (cap < least) cap = least;
  if (cap < 256) cap = 256;
  for (; p == NULL; cap = least) {
    if (b->p == b->fixed) {
      p = luacell_realloc(NULL, 0, cap);
      if (p != NULL && b->len > 0) memcpy(p, b->p, b->len);
    }
    else
      p = luacell_realloc(b->p, b->cap, cap);
    if (p != NULL) b->cap = cap;
    else if (cap == least) {
      if (collected++ || guest.L == NULL) return 0;
      luaD_rawrunprotected(guest.L, collect, NULL);
    }
  }
  b->p = p;
  if (b->kind == PASSING) {
    b->kind = PASSING_LISTED;
    b->next = grown;
    grown = b;
  }
  return 1;
}

void bytes_begin_run (void) {
  Bytes *b;
  for (b = grown; b != NULL; b = b->next) bytes_shrink(b);
}

void bytes_release (Bytes *b) {
  luacell_realloc(b->p, b->cap, 0);
  b->p = b->fixed;
  b->cap = b->fixed_cap;
}
