/*
** The module 'task'.
*/
#include "script/tasks.h"

/* Results, or the error, of the task at index 1. */
static int finish (lua_State *L, const Task *t) {
  int i;
  switch (t->state) {
    case DONE:
      luaL_checkstack(L, t->results, "too many results");
      for (i = 0; i < t->results; i++) {
        setobjs2s(L, L->top.p, t->L->top.p - t->results + i);
        api_incr_top(L);
      }
      return t->results;
    case FAILED:
      setobjs2s(L, L->top.p, t->L->top.p - 1);
      api_incr_top(L);
      if (t->status == LUA_ERRMEM) luacell_memory_error(L);
      return lua_error(L);
    default:
      return luaL_error(L, "the task was cancelled");
  }
}

static int wait_ended (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return finish(L, task_check(L, 1));
}

static int task_wait (lua_State *L) {
  Task *t = task_check(L, 1);
  lua_settop(L, 1);
  if (t->state >= DONE) {
    task_told(t);
    return finish(L, t);
  }
  if (t == task_current())
    return luaL_error(L, "a task can't wait for itself");
  if (!luacell_can_wait(L)) tasks_cant_wait(L, "'wait'");
  return task_wait_for(L, t, wait_ended);
}

static int cancel (lua_State *L) {
  Task *t = task_check(L, 1);
  task_cancel(L, t);
  return 0;
}

static int status (lua_State *L) {
  static const char *const names[] = {"waiting", "running", "waiting",
                                      "waiting", "done", "failed",
                                      "cancelled"};
  lua_pushstring(L, names[task_check(L, 1)->state]);
  return 1;
}

static int spawn (lua_State *L) {
  Task *t;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  t = task_new(L, lua_gettop(L) - 1);
  task_run(L, t);
  return 1;
}

/* {== Groups: the functions, or the list and the function, lie under it */

/* Pushes what is to be called, and its arguments; how many those are. */
static int push_next (lua_State *L, Group *g, int each) {
  if (!each) {
    lua_pushvalue(L, g->next);
    return 0;
  }
  lua_pushvalue(L, 2);
  lua_geti(L, 1, g->next);
  lua_pushinteger(L, g->next);
  return 2;
}

/* Which of the three it is. */
enum { ALL, RACE, EACH };

static int group_results (lua_State *L, const Group *g, int at, int what) {
  int i;
  lua_getiuservalue(L, at, GROUP_RESULTS);
  if (what == EACH) return 1;
  luaL_checkstack(L, g->count, "too many results");
  for (i = 1; i <= g->count; i++) {
    luacell_look(L);
    lua_rawgeti(L, -i, i);
  }
  return g->count;
}

/* The group lies at the top, at index 'ctx' / 4. */
static int go_on (lua_State *L, int status, lua_KContext ctx) {
  int at = (int)(ctx >> 2), what = (int)(ctx & 3);
  Group *g = lua_touserdata(L, at);
  (void)status;
  while (!g->failed && !g->decided) {
    if (g->next <= g->count && (g->most == 0 || g->open < g->most)) {
      Task *t = task_new(L, push_next(L, g, what == EACH));
      group_add(L, g, at, t, g->next++);
      task_run(L, t);
      lua_settop(L, at);
    }
    else if (g->open == 0) break;
    else if (!luacell_can_wait(L)) {
      group_cancel(L, g);
      tasks_cant_wait(L, "a task");
    }
    else return group_wait(L, g, ctx, go_on);
  }
  group_cancel(L, g);
  if (g->failed) {
    lua_getiuservalue(L, at, GROUP_ERROR);
    if (g->failed == LUA_ERRMEM) luacell_memory_error(L);
    return lua_error(L);
  }
  return group_results(L, g, at, what);
}

static int of_functions (lua_State *L, int what) {
  int i, n = lua_gettop(L);
  Group *g;
  for (i = 1; i <= n; i++) luaL_checktype(L, i, LUA_TFUNCTION);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  g = group_new(L, n);
  g->race = what == RACE;
  return go_on(L, LUA_OK, (n + 1) << 2 | what);
}

static int all (lua_State *L) { return of_functions(L, ALL); }

static int race (lua_State *L) { return of_functions(L, RACE); }

static int each (lua_State *L) {
  lua_Integer most = 0, count;
  Group *g;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  if (!lua_isnoneornil(L, 3)) {
    luaL_checktype(L, 3, LUA_TTABLE);
    if (lua_getfield(L, 3, "limit") != LUA_TNIL) {
      int is_integer;
      most = lua_tointegerx(L, -1, &is_integer);
      luaL_argcheck(L, is_integer && most > 0, 3,
                    "the limit must be a positive integer");
      if (most > INT_MAX) most = 0;
    }
  }
  lua_settop(L, 2);
  count = luaL_len(L, 1);
  luaL_argcheck(L, count < INT_MAX, 1, "too many elements");
  g = group_new(L, (int)count);
  g->most = (int)most;
  return go_on(L, LUA_OK, 3 << 2 | EACH);
}

/* }== */

static int sleep (lua_State *L) {
  lua_Number seconds = luaL_checknumber(L, 1);
  luaL_argcheck(L, seconds >= 0, 1, "must not be negative");
  lua_settop(L, 0);
  lua_pushnumber(L, seconds);
  return host_function_sleep(L);
}

/* Pushes the module. */
int task_open (lua_State *L) {
  static const luaL_Reg functions[] = {
    {"spawn", spawn}, {"wait", task_wait}, {"cancel", cancel},
    {"status", status}, {"all", all}, {"race", race}, {"each", each},
    {"sleep", sleep}, {NULL, NULL}
  };
  guest.tasks = table_new_anchored(L, NULL);
  guest.requests = table_new_anchored(L, NULL);
  guest.answers = table_new_anchored(L, NULL);
  luaL_newlib(L, functions);
  guest.task_meta = table_new_anchored(L, NULL);
  sethvalue2s(L, L->top.p, guest.task_meta);
  api_incr_top(L);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "task");
  lua_setfield(L, -2, "__name");
  lua_pushliteral(L, "task"); /* scripts can't change it */
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  return 1;
}
