/*
** 'require' and 'package'. Modules come from package.preload, from the guest
** itself, or as source text from the host.
*/
#include "script/script.h"

/* {== Searchers: a name in; a loader and its second argument out, or text that
   says where the module is not */

static int search_preload (lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushvalue(L, 1);
  if (lua_gettable(L, -2) == LUA_TNIL) {
    lua_pushfstring(L, "no field package.preload['%s']", name);
    return 1;
  }
  lua_pushliteral(L, ":preload:");
  return 2;
}

static int load_builtin (lua_State *L) {
  size_t n;
  const char *name = luaL_checklstring(L, 1, &n);
  return builtin_push(L, name, n);
}

/* What comes with the guest. */
static int search_guest (lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (!is_module(name)) return 0;
  lua_pushcfunction(L, load_builtin);
  lua_pushliteral(L, ":builtin:");
  return 2;
}

static l_noret malformed (lua_State *L, const char *name) {
  luacell_error(L, KIND_INTERNAL,
                "the host gave a malformed answer for module '%s'", name);
}

/* As for files in PUC: a byte order mark and a first line with '#' are not
   part of the source, the end of that line is. */
static void skip_head (const char **s, size_t *n) {
  if (*n >= 3 && memcmp(*s, "\xEF\xBB\xBF", 3) == 0) {
    *s += 3;
    *n -= 3;
  }
  if (*n > 0 && **s == '#') {
    const char *end = memchr(*s, '\n', *n);
    size_t skipped = end == NULL ? *n : (size_t)(end - *s);
    *s += skipped;
    *n -= skipped;
  }
}

/* Chunk name and source are at the top of the stack. */
static int load_source (lua_State *L, const char *name) {
  const char *chunk = lua_tostring(L, -2);
  int file = *chunk == '@';
  const char *shown = file || *chunk == '=' ? chunk + 1 : chunk;
  size_t n;
  const char *source = lua_tolstring(L, -1, &n);
  skip_head(&source, &n);
  if (luaL_loadbufferx(L, source, n, chunk, "t") != LUA_OK) {
    luacell_not_refused(L);
    if (file)
      return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s",
                        name, shown, lua_tostring(L, -1));
    return luaL_error(L, "error loading module '%s':\n\t%s", name,
                      lua_tostring(L, -1));
  }
  lua_pushstring(L, shown);
  return 2;
}

static int search_host (lua_State *L) {
  static const char operation[] = {OPERATION_MODULE};
  size_t n, chunk_len;
  const char *name = luaL_checkstring(L, 1);
  const char *request;
  const byte *answer;
  lua_settop(L, 1);
  lua_pushlstring(L, operation, sizeof operation);
  lua_pushvalue(L, 1);
  lua_concat(L, 2);
  request = lua_tolstring(L, -1, &n);
  luaL_checkstack(L, 4, NULL);
  answer = host_request(L, (const byte *)request, n, &n);
  if (answer == NULL) {
    lua_pushliteral(L, "the host offers no modules");
    return 1;
  }
  if (n < 4) malformed(L, name);
  n -= 4;
  switch (get_u32(answer)) {
    case SEARCH_FOUND:
      answer += 4;
      if (n < 4) malformed(L, name);
      n -= 4;
      chunk_len = get_u32(answer);
      answer += 4;
      if (chunk_len > n) malformed(L, name);
      /* no step of the collector: a finalizer could ask the host something */
      push_string(L, (const char *)answer + chunk_len, n - chunk_len);
      if (chunk_len > 0) push_string(L, (const char *)answer, chunk_len);
      else lua_pushfstring(L, "=%s", name);
      lua_insert(L, -2);
      return load_source(L, name);
    case SEARCH_MISSING: {
      const char *text = (const char *)answer + 4;
      if (n >= 2 && memcmp(text, "\n\t", 2) == 0) { /* 'require' adds it */
        text += 2;
        n -= 2;
      }
      if (n == 0) return 0;
      lua_pushlstring(L, text, n);
      return 1;
    }
    case SEARCH_FAILED:
      lua_pushlstring(L, (const char *)answer + 4, n);
      luacell_error(L, KIND_HOST_FUNCTION,
                    "error loading module '%s':\n\t%s", name,
                    lua_tostring(L, -1));
    default: malformed(L, name);
  }
}

/* }== */

/* {== require */

static int luacell_require (lua_State *L);

/*
** Is this thread in the middle of loading a module of this name? A thread that
** has died of an error keeps its frames.
*/
static int loads (lua_State *L, lua_State *thread, const TValue *name) {
  const CallInfo *ci;
  if (thread->status != LUA_OK &&
      (luacell_flags(thread) & (THREAD_WAITS | THREAD_DONE)) != THREAD_WAITS)
    return 0;
  for (ci = thread->ci; ci != NULL; ci = ci->previous) {
    const TValue *f = s2v(ci->func.p);
    if (ci != L->ci && ttislcf(f) && fvalue(f) == luacell_require &&
        luaV_rawequalobj(s2v(ci->func.p + 1), name))
      return 1;
  }
  return 0;
}

/* So many notes are kept before it is looked which ones are still true. */
#define NOTES_MIN 64u

static unsigned notes, notes_most = NOTES_MIN;

/* Whoever asks for ever new modules that fail leaves a note of each. */
static void forget_loaded (lua_State *L) {
  unsigned pos = 0;
  TValue key, val;
  notes = 0;
  while (table_step(guest.loading, &pos, &key, &val)) {
    luacell_look(L);
    if (ttisthread(&val) && loads(L, thvalue(&val), &key)) notes++;
    else setempty((TValue *)luaH_get(guest.loading, &key));
  }
  notes_most = notes * 2 + NOTES_MIN;
}

static lua_State *loader_of (lua_State *L, const TValue *name) {
  const TValue *v = luaH_get(guest.loading, name);
  if (!ttisthread(v) || !loads(L, thvalue(v), name)) return NULL;
  return thvalue(v);
}

/* Is a task that waits in the middle of loading this module? */
int module_loads_elsewhere (lua_State *L, const TValue *name) {
  const lua_State *loader = loader_of(L, name);
  return loader != NULL && (luacell_flags(loader) & THREAD_WAITS);
}

/*
** A module that is being loaded is not loaded again, not even by a coroutine
** that it has started. Nothing has to be undone when loading fails: then the
** thread just isn't loading any more.
*/
static void note_loading (lua_State *L) {
  if (loader_of(L, s2v(L->ci->func.p + 1)) != NULL)
    luaL_error(L, "loop or previous error loading module '%s'",
               lua_tostring(L, 1));
  if (++notes > notes_most) forget_loaded(L);
  sethvalue2s(L, L->top.p, guest.loading);
  api_incr_top(L);
  lua_pushvalue(L, 1);
  lua_pushthread(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/*
** 'require' goes on where it was when it had to wait: in a searcher, or in the
** loader that one found.
*/
enum { NAME = 1, LOADED, SEARCHERS, TEXT, SEARCHED };
enum { LOADER = 3, DATA, RESULT };

static int loaded (lua_State *L, int status, lua_KContext ctx);
static int searched (lua_State *L, int status, lua_KContext i);

/* The loader and its argument are at the top. */
static int load_module (lua_State *L) {
  lua_replace(L, DATA);
  lua_replace(L, LOADER);
  lua_settop(L, DATA);
  lua_pushvalue(L, LOADER);
  lua_pushvalue(L, NAME);
  lua_pushvalue(L, DATA);
  luacell_callk(L, 2, 1, 0, loaded);
  return loaded(L, LUA_OK, 0);
}

static int loaded (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  if (lua_isnil(L, RESULT)) { /* unless the module has set it itself */
    lua_pop(L, 1);
    lua_pushvalue(L, NAME);
    if (lua_gettable(L, LOADED) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_pushboolean(L, 1);
    }
  }
  lua_pushvalue(L, NAME);
  lua_pushvalue(L, RESULT);
  lua_settable(L, LOADED);
  lua_pushvalue(L, DATA);
  return 2;
}

/* What the searcher gave is at the top. */
static int searched (lua_State *L, int status, lua_KContext i) {
  (void)status;
  for (;;) {
    luacell_look(L);
    if (lua_isfunction(L, SEARCHED)) return load_module(L);
    lua_pop(L, 1);
    if (lua_isstring(L, SEARCHED)) {
      lua_pushvalue(L, TEXT);
      lua_pushliteral(L, "\n\t");
      lua_pushvalue(L, SEARCHED);
      lua_concat(L, 3);
      lua_replace(L, TEXT);
    }
    lua_settop(L, TEXT);
    if (lua_rawgeti(L, SEARCHERS, ++i) == LUA_TNIL)
      return luaL_error(L, "module '%s' not found:%s", lua_tostring(L, NAME),
                        lua_tostring(L, TEXT));
    lua_pushvalue(L, NAME);
    luacell_callk(L, 1, 2, i, searched);
  }
}

static int require_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return luacell_require(L);
}

static int luacell_require (lua_State *L) {
  luaL_checkstring(L, NAME);
  lua_settop(L, NAME);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, NAME);
  lua_gettable(L, LOADED);
  if (lua_toboolean(L, -1)) return 1;
  lua_settop(L, LOADED);
  if (module_loads_elsewhere(L, s2v(L->ci->func.p + NAME))) {
    if (!luacell_can_wait(L)) tasks_cant_wait(L, "'require'");
    return tasks_wait_for_module(L, require_again);
  }
  note_loading(L);
  sethvalue2s(L, L->top.p, guest.package);
  api_incr_top(L);
  if (lua_getfield(L, -1, "searchers") != LUA_TTABLE)
    luaL_error(L, "'package.searchers' must be a table");
  lua_replace(L, SEARCHERS);
  lua_pushliteral(L, "");
  lua_pushnil(L);
  lua_pushnil(L);
  return searched(L, LUA_OK, 0);
}

/* }== */

void modules_open (lua_State *L) {
  static const lua_CFunction searchers[] = {search_preload, search_guest,
                                            search_host};
  int i, n = (int)(sizeof searchers / sizeof searchers[0]);
  guest.loading = table_new_anchored(L, "v");
  guest.package = table_new_anchored(L, NULL);
  sethvalue2s(L, L->top.p, guest.package);
  api_incr_top(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, LUA_LOADLIBNAME);
  lua_setfield(L, -2, "loaded");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_setfield(L, -2, "preload");
  lua_createtable(L, n, 0);
  for (i = 0; i < n; i++) {
    lua_pushcfunction(L, searchers[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "searchers");
  lua_pushliteral(L, "/\n;\n?\n!\n-\n");
  lua_setfield(L, -2, "config");
  lua_setglobal(L, LUA_LOADLIBNAME);
  lua_pushcfunction(L, luacell_require);
  lua_setglobal(L, "require");
}
