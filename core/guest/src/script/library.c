/*
** What a script finds: the standard libraries without what a sandbox can't
** have, and 'ext'.
*/
#include "script/script.h"

static const luaL_Reg libraries[] = {
  {LUA_GNAME, luaopen_base},
  {LUA_COLIBNAME, luaopen_coroutine},
  {LUA_TABLIBNAME, luaopen_table},
  {LUA_STRLIBNAME, luaopen_string},
  {LUA_MATHLIBNAME, luaopen_math},
  {LUA_UTF8LIBNAME, luaopen_utf8},
  {LUA_OSLIBNAME, luaopen_os},
  {LUA_DBLIBNAME, luaopen_debug},
  {NULL, NULL}
};

/* What 'require' finds without the host. */
static const luaL_Reg modules[] = {
  {"bigint", bigint_open},
  {"json", json_open},
  {"task", task_open},
  {NULL, NULL}
};

int is_module (const char *name) {
  const luaL_Reg *m;
  for (m = modules; m->func != NULL; m++)
    if (strcmp(m->name, name) == 0) return 1;
  return 0;
}

static const luaL_Reg ext_functions[] = {
  {"table", luacell_ext_table},
  {NULL, NULL}
};

/* {== debug, as far as it is harmless */

/*
** Lua's own function does the work in the frame of the one that scripts see: in
** one of its own, a message handler would find it.
*/
static int original (lua_State *L) {
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* For Lua functions as in PUC; a built-in has no upvalues to show. */
static int of_lua_functions_only (lua_State *L) {
  int i, n = lua_gettop(L);
  for (i = 1; i <= n; i++)
    if (lua_iscfunction(L, i)) return 0;
  return original(L);
}

/* The metatables of strings, functions and so on belong to everybody. */
static int of_tables_only (lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  return original(L);
}

/*
** Named variables of Lua functions. What lies between them belongs to the
** interpreter and to running built-ins.
*/
static int of_named_locals_only (lua_State *L) {
  int n = original(L);
  const char *name = n > 0 ? lua_tostring(L, -n) : NULL;
  if (name == NULL || (name[0] == '(' && strcmp(name, "(vararg)") != 0)) {
    lua_pushnil(L);
    return 1;
  }
  return n;
}

static void wrap (lua_State *L, const char *name, lua_CFunction by) {
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, by, 1);
  lua_setfield(L, -2, name);
}

static void tame_debug (lua_State *L) {
  static const char *const unsafe[] = {"getregistry", "getuservalue",
                                       "setuservalue", "sethook", "gethook",
                                       "setcstacklimit", "setlocal", NULL};
  int i;
  lua_getglobal(L, LUA_DBLIBNAME);
  for (i = 0; unsafe[i] != NULL; i++) {
    lua_pushnil(L);
    lua_setfield(L, -2, unsafe[i]);
  }
  wrap(L, "getlocal", of_named_locals_only);
  wrap(L, "getupvalue", of_lua_functions_only);
  wrap(L, "setupvalue", of_lua_functions_only);
  wrap(L, "upvalueid", of_lua_functions_only);
  wrap(L, "upvaluejoin", of_lua_functions_only);
  wrap(L, "getmetatable", of_tables_only);
  wrap(L, "setmetatable", of_tables_only);
  lua_pop(L, 1);
}

/* }== */

/* {== The names of all that */

/* Names the functions in the table at the top, "prefix.name". */
static void name_functions (lua_State *L, const char *prefix) {
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_isfunction(L, -1)) {
      const char *name = lua_tostring(L, -2);
      if (prefix != NULL) {
        name = lua_pushfstring(L, "%s.%s", prefix, name);
        lua_insert(L, -2);
        builtin_add(L, name);
        lua_remove(L, -2);
      }
      else
        builtin_add(L, name);
    }
    lua_pop(L, 1);
  }
}

/* The same for the tables in it. */
static void name_tables (lua_State *L, const char *prefix) {
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_istable(L, -1)) {
      const char *name =
          lua_pushfstring(L, "%s.%s", prefix, lua_tostring(L, -2));
      lua_insert(L, -2);
      builtin_add(L, name);
      lua_remove(L, -2);
    }
    lua_pop(L, 1);
  }
}

static void name_builtins (lua_State *L) {
  const luaL_Reg *lib;
  lua_pushglobaltable(L);
  builtin_add(L, LUA_GNAME);
  name_functions(L, NULL);
  for (lib = libraries + 1; lib->func != NULL; lib++) {
    lua_getfield(L, -1, lib->name);
    builtin_add(L, lib->name);
    name_functions(L, lib->name);
    lua_pop(L, 1);
  }
  lua_getfield(L, -1, "ext");
  builtin_add(L, "ext");
  name_functions(L, "ext");
  lua_getfield(L, -2, LUA_LOADLIBNAME);
  builtin_add(L, LUA_LOADLIBNAME);
  name_tables(L, LUA_LOADLIBNAME);
  lua_pop(L, 3);
  for (lib = modules; lib->func != NULL; lib++) {
    lib->func(L);
    builtin_add(L, lib->name);
    name_functions(L, lib->name);
    lua_pop(L, 1);
  }
}

/* }== */

void luacell_open_libraries (lua_State *L) {
  const luaL_Reg *lib;
  for (lib = libraries; lib->func != NULL; lib++) {
    luaL_requiref(L, lib->name, lib->func, 1);
    lua_pop(L, 1);
  }
  lua_pushcfunction(L, luacell_print);
  lua_setglobal(L, "print");
  tame_debug(L);
  luaL_newlib(L, ext_functions);
  lua_setglobal(L, "ext");
  modules_open(L);
  name_builtins(L);
}
