/*
** The module "json".
*/
#include "json/json.h"

/* json.array(t): t, which is a list from now on, even when it is empty. */
static int json_array (lua_State *L) {
  Table *t;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  t = hvalue(s2v(L->top.p - 1));
  luaL_argcheck(L, t->extid == 0, 1, "a stored table can't be marked as a list");
  json_mark_list(t);
  return 1;
}

static const luaL_Reg functions[] = {
  {"array", json_array},
  {"decode", json_decode},
  {"encode", json_encode},
  {NULL, NULL}
};

void json_open (lua_State *L) {
  luaL_newlib(L, functions);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
}
