/*
** Built-in functions and libraries by name: that is how they are stored, and
** sent to the host. The functions of the host are among them.
*/
#include "values/values.h"

/* From now on the name is that of this value. */
static void hold (lua_State *L, const TValue *name, const TValue *v) {
  TValue copy = *v;
  luaH_set(L, guest.builtins, name, &copy);
  luaC_barrierback(L, obj2gco(guest.builtins), name);
  luaC_barrierback(L, obj2gco(guest.builtins), v);
}

/* The value at the top of the stack is a built-in of this name. */
void builtin_add (lua_State *L, const char *name) {
  TValue v = *s2v(L->top.p - 1);
  lua_pushstring(L, name);
  luaH_set(L, guest.builtin_names, &v, s2v(L->top.p - 1));
  luaC_barrierback(L, obj2gco(guest.builtin_names), s2v(L->top.p - 1));
  luaC_barrierback(L, obj2gco(guest.builtin_names), &v);
  hold(L, s2v(L->top.p - 1), &v);
  lua_pop(L, 1);
}

/* Values that are still there keep their name for messages. */
void builtin_remove (lua_State *L, const char *name) {
  TValue nil;
  setnilvalue(&nil);
  lua_pushstring(L, name);
  luaH_set(L, guest.builtins, s2v(L->top.p - 1), &nil);
  lua_pop(L, 1);
}

/* With a name or without. */
int is_host_function (const TValue *v) {
  return ttisCclosure(v) && clCvalue(v)->f == guest.above.call_host;
}

/*
** There is one Lua function for each name: a script may hold on to it while
** the host registers something else under the name, and calls that then.
*/
void host_function_push (lua_State *L, const char *name, size_t len,
                         unsigned id) {
  const TValue *known;
  lua_pushlstring(L, name, len);
  known = luaH_get(guest.host_functions, s2v(L->top.p - 1));
  if (is_host_function(known)) {
    setobj2s(L, L->top.p, known);
    api_incr_top(L);
    chgivalue(&clCvalue(known)->upvalue[0], id);
  }
  else {
    TValue f;
    lua_pushinteger(L, id);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, guest.above.call_host, 2);
    f = *s2v(L->top.p - 1);
    luaH_set(L, guest.host_functions, s2v(L->top.p - 2), &f);
    luaC_barrierback(L, obj2gco(guest.host_functions), s2v(L->top.p - 2));
    luaC_barrierback(L, obj2gco(guest.host_functions), &f);
  }
  hold(L, s2v(L->top.p - 2), s2v(L->top.p - 1));
  lua_remove(L, -2);
}

int host_function_is (const TValue *v, unsigned id) {
  return is_host_function(v) &&
         ivalue(&clCvalue(v)->upvalue[0]) == (lua_Integer)id;
}

/* Of a function that asks the host. */
unsigned host_function_number (const TValue *v) {
  return is_host_function(v) ? (unsigned)ivalue(&clCvalue(v)->upvalue[0])
                             : SLEEP;
}

/* The name of a built-in function or library; NULL for anything else. */
const char *builtin_name (const TValue *v, size_t *len) {
  const TValue *name = is_host_function(v) ? &clCvalue(v)->upvalue[1]
                                           : luaH_get(guest.builtin_names, v);
  if (!ttisstring(name)) return NULL;
  *len = vslen(name);
  return svalue(name);
}

int builtin_push (lua_State *L, const char *name, size_t len) {
  const TValue *v;
  gc_hold(L);
  push_string(L, name, len);
  gc_release(L);
  v = luaH_get(guest.builtins, s2v(L->top.p - 1));
  if (isempty(v)) {
    lua_pop(L, 1);
    return 0;
  }
  setobj2s(L, L->top.p - 1, v);
  return 1;
}
