/*
** Growable byte buffers. They report failure instead of raising an error,
** so that a caller can leave its own data in order first.
*/
#include "luacell.h"

int bytes_grow (Bytes *b, size_t extra) {
  size_t need, cap;
  byte *p = NULL;
  if (extra > (size_t)INT_MAX - b->len) return 0;
  need = b->len + extra;
  if (need <= b->fixed_cap) {
    b->p = b->fixed;
    b->cap = b->fixed_cap;
    return 1;
  }
  cap = b->cap + b->cap / 2;
  if (cap < need) cap = need;
  if (cap < 256) cap = 256;
  /* room for more to come, or near the limit just what is needed */
  for (; p == NULL; cap = need) {
    if (b->p == b->fixed) {
      p = luacell_realloc(NULL, 0, cap);
      if (p != NULL && b->len > 0) memcpy(p, b->p, b->len);
    }
    else
      p = luacell_realloc(b->p, b->cap, cap);
    if (p != NULL) b->cap = cap;
    else if (cap == need) return 0;
  }
  b->p = p;
  return 1;
}

void bytes_release (Bytes *b) {
  luacell_realloc(b->p, b->cap, 0);
  b->p = b->fixed;
  b->cap = b->fixed_cap;
}
