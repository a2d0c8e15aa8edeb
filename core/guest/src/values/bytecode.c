/*
** Functions that are nothing but their code. Equal code is one function.
*/
#include "values/values.h"

/* Nothing of its own but code: at most the globals as its one upvalue. */
int closure_is_plain (const LClosure *cl) {
  return cl->nupvalues == 0 ||
         (cl->nupvalues == 1 && is_globals(cl->upvals[0]->v.p));
}

static int write_code (lua_State *L, const void *p, size_t n, void *to) {
  (void)L;
  return !bytes_add(to, p, n);
}

/* Appends the bytecode, line information included. */
void closure_dump (lua_State *L, const TValue *f, Bytes *to) {
  TValue function = *f; /* it may stand on the stack, which moves */
  int failed;
  need_stack(L, 2);
  setobj2s(L, L->top.p, &function);
  api_incr_top(L);
  failed = lua_dump(L, write_code, to, 0);
  lua_pop(L, 1);
  if (failed) luacell_memory_error(L);
}

void bytecode_known (lua_State *L, const byte *code, size_t len,
                     const TValue *f) {
  TValue copy = *f;
  push_string(L, (const char *)code, len);
  luaH_set(L, guest.bytecode, s2v(L->top.p - 1), &copy);
  luaC_barrierback(L, obj2gco(guest.bytecode), s2v(L->top.p - 1));
  luaC_barrierback(L, obj2gco(guest.bytecode), &copy);
  lua_pop(L, 1);
}

void bytecode_load (lua_State *L, const char *code, size_t len) {
  const TValue *known;
  int base = lua_gettop(L);
  gc_hold(L);
  push_string(L, code, len);
  known = luaH_get(guest.bytecode, s2v(L->top.p - 1));
  if (!isempty(known)) {
    setobj2s(L, L->top.p, known);
    api_incr_top(L);
  }
  else {
    size_t n;
    const char *s = lua_tolstring(L, -1, &n);
    if (luaL_loadbufferx(L, s, n, "=(stored function)", "b") != LUA_OK)
      luacell_error(L, KIND_CONVERSION, "malformed stored function: %s",
                    lua_tostring(L, -1));
    bytecode_known(L, (const byte *)s, n, s2v(L->top.p - 1));
  }
  lua_replace(L, base + 1);
  lua_settop(L, base + 1);
  gc_release(L);
}
