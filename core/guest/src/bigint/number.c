/*
** Numbers as values of Lua: userdata that never change once a script sees them.
*/
#include "bigint/bigint.h"

static size_t big_size (size_t n) { return sizeof(Big) + n * sizeof(Limb); }

static Big *top_big (lua_State *L) {
  return (Big *)getudatamem(uvalue(s2v(L->top.p - 1)));
}

Big *big_new (lua_State *L, size_t n) {
  Big *b;
  if (n > MAX_LIMBS) luacell_memory_error(L);
  need_stack(L, 4);
  b = lua_newuserdatauv(L, big_size(n), 0);
  b->negative = 0;
  b->n = (unsigned)n;
  uvalue(s2v(L->top.p - 1))->metatable = guest.bigint_meta;
  return b;
}

void big_finish (lua_State *L, int negative) {
  Big *b = top_big(L);
  size_t room = (lua_rawlen(L, -1) - sizeof(Big)) / sizeof(Limb);
  b->n = (unsigned)limbs_trim(b->d, b->n);
  b->negative = negative && b->n > 0;
  if (room - b->n > 16 + b->n / 8) { /* the rest would be kept with it */
    Big *exact = big_new(L, b->n);
    memcpy(exact, b, big_size(b->n));
    lua_remove(L, -2);
  }
}

const Big *big_of (const TValue *v) {
  if (ttypetag(v) != LUA_VUSERDATA ||
      uvalue(v)->metatable != guest.bigint_meta)
    return NULL;
  return (const Big *)getudatamem(uvalue(v));
}
