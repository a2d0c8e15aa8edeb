/*
** Growable byte buffers. They report failure instead of raising an error,
** so that a caller can leave its own data in order first.
*/
#include "luacell.h"

int bytes_reserve (Bytes *b, size_t extra) {
  size_t need, cap;
  byte *p;
  if (extra <= b->cap - b->len) return 1;
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
  if (b->p == b->fixed) {
    p = luacell_realloc(NULL, 0, cap);
    if (p != NULL && b->len > 0) memcpy(p, b->p, b->len);
  }
  else
    p = luacell_realloc(b->p, b->cap, cap);
  if (p == NULL) return 0;
  b->p = p;
  b->cap = cap;
  return 1;
}

/* Empties the buffer and gives memory back that an unusual run took. */
void bytes_shrink (Bytes *b) {
  b->len = 0;
  if (b->p != b->fixed && (b->fixed != NULL || b->cap > BASE_SIZE)) {
    luacell_realloc(b->p, b->cap, 0);
    b->p = b->fixed;
    b->cap = b->fixed_cap;
  }
}

int bytes_add (Bytes *b, const void *data, size_t n) {
  if (!bytes_reserve(b, n)) return 0;
  if (n > 0) memcpy(b->p + b->len, data, n);
  b->len += n;
  return 1;
}
