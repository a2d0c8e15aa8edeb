/* Plain PUC Lua behind a small pipe protocol, to check the corpus against (see check.py).
 *
 * Reads requests from stdin, answers on stdout; every part is a u32 length and that many bytes.
 *   'C' name source args   compute        'K' path args   call
 *   'I' value              _io.input      'R'             what `reopen` keeps of a VM
 *   'G'                    collect
 * An answer is one byte (0 done, 1 Syntax, 2 Runtime, 3 Memory, 4 Conversion) and the parts
 * output, values (or message), traceback. Values are encoded as docs/MEMORY_PROTOCOL.md says.
 * External tables are plain tables here: what differs is listed in not-plain-lua.json.
 * Usage: oracle [memory limit in bytes]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

typedef struct { char *p; size_t n, cap; } Buf;

static Buf out, enc, trace;
static size_t used, limit; /* bytes of Lua's heap, bound on it (0: none) */
static int limited;

static void put(Buf *b, const void *p, size_t n) {
  if (b->n + n > b->cap) {
    b->cap = (b->n + n) * 2 + 64;
    if (!(b->p = realloc(b->p, b->cap))) abort();
  }
  if (n) memcpy(b->p + b->n, p, n);
  b->n += n;
}
static void put_u32(Buf *b, uint32_t v) { put(b, &v, 4); }
static void put_tag(Buf *b, int t) { char c = (char)t; put(b, &c, 1); }

void oracle_write(const char *s, size_t n) { put(&out, s, n); }

static void *alloc(void *ud, void *p, size_t osize, size_t nsize) {
  (void)ud;
  if (!p) osize = 0;
  if (!nsize) { free(p); used -= osize; return NULL; }
  if (limited && limit && nsize > osize && used + (nsize - osize) > limit) return NULL;
  p = realloc(p, nsize);
  if (p) used += nsize - osize;
  return p;
}

static uint32_t read_u32(void) {
  uint32_t v;
  if (fread(&v, 4, 1, stdin) != 1) exit(3);
  return v;
}
static char *read_part(size_t *n) {
  *n = read_u32();
  char *p = malloc(*n + 1);
  if (!p || fread(p, 1, *n, stdin) != *n) exit(3);
  p[*n] = 0;
  return p;
}

/* Encoding: 'seen' (stack index) maps tables to their number. Iterative where it matters is not needed:
 * the C stack of this program is made large by its caller. */
static int encode(lua_State *L, int i, int seen) {
  i = lua_absindex(L, i);
  if (!lua_checkstack(L, 20)) return 0;
  switch (lua_type(L, i)) {
    case LUA_TNIL: put_tag(&enc, 0); return 1;
    case LUA_TBOOLEAN: put_tag(&enc, 1); put_tag(&enc, lua_toboolean(L, i)); return 1;
    case LUA_TNUMBER:
      if (lua_isinteger(L, i)) {
        lua_Integer v = lua_tointeger(L, i);
        put_tag(&enc, 2); put(&enc, &v, 8);
      } else {
        lua_Number v = lua_tonumber(L, i);
        put_tag(&enc, 3); put(&enc, &v, 8);
      }
      return 1;
    case LUA_TSTRING: {
      size_t n;
      const char *s = lua_tolstring(L, i, &n);
      put_tag(&enc, 4); put_u32(&enc, (uint32_t)n); put(&enc, s, n);
      return 1;
    }
    case LUA_TFUNCTION: put_tag(&enc, 10); put_u32(&enc, 0); return 1;
    case LUA_TTABLE: {
      lua_pushvalue(L, i);
      if (lua_rawget(L, seen) == LUA_TNUMBER) {
        put_tag(&enc, 9); put_u32(&enc, (uint32_t)lua_tointeger(L, -1));
        lua_pop(L, 1);
        return 1;
      }
      lua_pop(L, 1);
      lua_pushvalue(L, i);
      lua_rawgeti(L, seen, 0);
      lua_Integer number = lua_tointeger(L, -1);
      lua_pop(L, 1);
      lua_pushinteger(L, number);
      lua_rawset(L, seen);
      lua_pushinteger(L, number + 1);
      lua_rawseti(L, seen, 0);
      put_tag(&enc, 8); put_u32(&enc, 0);
      size_t at = enc.n;
      uint32_t pairs = 0;
      put_u32(&enc, 0);
      for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1), pairs++)
        if (!encode(L, -2, seen) || !encode(L, -1, seen)) return 0;
      memcpy(enc.p + at, &pairs, 4);
      return 1;
    }
    default: return 0;
  }
}

static const char *src, *src_end;
static uint32_t take_u32(void) {
  uint32_t v;
  memcpy(&v, src, 4);
  src += 4;
  return v;
}
static void decode(lua_State *L, int tables) {
  luaL_checkstack(L, 20, "arguments");
  int tag = *src++;
  switch (tag) {
    case 0: lua_pushnil(L); break;
    case 1: lua_pushboolean(L, *src++); break;
    case 2: { lua_Integer v; memcpy(&v, src, 8); src += 8; lua_pushinteger(L, v); break; }
    case 3: { lua_Number v; memcpy(&v, src, 8); src += 8; lua_pushnumber(L, v); break; }
    case 4: { uint32_t n = take_u32(); lua_pushlstring(L, src, n); src += n; break; }
    case 8: {
      uint32_t array = take_u32(), pairs = take_u32();
      lua_newtable(L);
      lua_pushvalue(L, -1);
      lua_rawseti(L, tables, (lua_Integer)lua_rawlen(L, tables) + 1);
      for (uint32_t k = 1; k <= array; k++) { decode(L, tables); lua_rawseti(L, -2, k); }
      for (; pairs; pairs--) { decode(L, tables); decode(L, tables); lua_rawset(L, -3); }
      break;
    }
    case 9: lua_rawgeti(L, tables, (lua_Integer)take_u32() + 1); break;
    default: exit(4);
  }
}
static int push_values(lua_State *L, const char *p, size_t n) {
  int count = 0;
  src = p; src_end = p + n;
  lua_newtable(L);
  int tables = lua_gettop(L);
  while (src < src_end) { decode(L, tables); count++; }
  lua_remove(L, tables);
  return count;
}

static int handler(lua_State *L) { /* as msghandler of lua.c, the traceback kept apart */
  if (!lua_tostring(L, 1)) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
      return 1;
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  } else lua_settop(L, 1);
  luaL_traceback(L, L, NULL, 1);
  size_t n;
  const char *s = lua_tolstring(L, -1, &n);
  trace.n = 0;
  put(&trace, s, n);
  lua_pop(L, 1);
  return 1;
}

static void answer(int status, const char *p, size_t n) {
  putchar(status);
  uint32_t v = (uint32_t)out.n;
  fwrite(&v, 4, 1, stdout); fwrite(out.p, 1, out.n, stdout);
  v = (uint32_t)n;
  fwrite(&v, 4, 1, stdout); fwrite(p, 1, n, stdout);
  v = (uint32_t)trace.n;
  fwrite(&v, 4, 1, stdout); fwrite(trace.p, 1, trace.n, stdout);
  fflush(stdout);
}

/* Function and arguments on top of the handler at index 1. */
static void run(lua_State *L, int nargs) {
  limited = 1;
  int status = lua_pcall(L, nargs, LUA_MULTRET, 1);
  limited = 0;
  if (status != LUA_OK) {
    size_t n;
    const char *s = luaL_tolstring(L, -1, &n);
    answer(status == LUA_ERRMEM ? 3 : 2, s, n);
    return;
  }
  int top = lua_gettop(L);
  lua_newtable(L);
  int seen = lua_gettop(L);
  for (int i = 2; i <= top; i++)
    if (!encode(L, i, seen)) { answer(4, "", 0); return; }
  answer(0, enc.p, enc.n);
}

static void strip(lua_State *L, int seen) { /* metatables do not survive `reopen` */
  if (!lua_istable(L, -1)) return;
  luaL_checkstack(L, 20, "strip");
  lua_pushvalue(L, -1);
  if (lua_rawget(L, seen) != LUA_TNIL) { lua_pop(L, 1); return; }
  lua_pop(L, 1);
  lua_pushvalue(L, -1); lua_pushboolean(L, 1); lua_rawset(L, seen);
  lua_pushnil(L); lua_setmetatable(L, -2);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) strip(L, seen);
}

static const char *const reset =
  "local G, keep, kept, pristine = ...\n"
  "local next = next\n"
  "for k in next, G do G[k] = nil end\n"
  "for k, v in next, pristine do G[k] = v end\n"
  "for k in next, kept do G[k] = keep[k] end\n"
  "local p = pristine.package\n"
  "for k in next, p.loaded do if pristine[k] == nil then p.loaded[k] = nil end end\n"
  "for k in next, p.preload do p.preload[k] = nil end";

static const char *const setup =
  "dofile, loadfile = nil\n"
  "os = {time = os.time, clock = os.clock, date = os.date, difftime = os.difftime,\n"
  "      getenv = function() return nil end}\n"
  "debug = {traceback = debug.traceback, getinfo = debug.getinfo}\n"
  "package.loaded.os, package.loaded.debug = os, debug\n"
  "for _, name in ipairs {'path', 'cpath', 'loadlib', 'searchpath'} do package[name] = nil end\n"
  "package.searchers = {package.searchers[1], function() return 'the host offers no modules' end}\n"
  "local pristine = {} for k, v in next, _G do pristine[k] = v end\n"
  "_home = {} Memory = _home _io = {} ext = {table = function() return {} end}\n"
  "pristine.ext = ext return pristine";

int main(int argc, char **argv) {
  limit = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
  lua_State *L = lua_newstate(alloc, NULL);
  if (!L) return 2;
  static const luaL_Reg libs[] = {{LUA_GNAME, luaopen_base}, {LUA_COLIBNAME, luaopen_coroutine},
    {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math},
    {LUA_UTF8LIBNAME, luaopen_utf8}, {LUA_OSLIBNAME, luaopen_os}, {LUA_DBLIBNAME, luaopen_debug},
    {LUA_LOADLIBNAME, luaopen_package}, {NULL, NULL}};
  for (const luaL_Reg *l = libs; l->name; l++) { luaL_requiref(L, l->name, l->func, 1); lua_pop(L, 1); }
  if (luaL_dostring(L, setup)) return 2;
  lua_setfield(L, LUA_REGISTRYINDEX, "pristine");
  for (int op; (op = getchar()) != EOF;) {
    size_t n, m, k;
    out.n = enc.n = trace.n = 0;
    lua_settop(L, 0);
    lua_pushcfunction(L, handler);
    if (op == 'C') {
      char *name = read_part(&n), *source = read_part(&m), *args = read_part(&k);
      if (luaL_loadbufferx(L, source, m, n ? name : source, "t")) {
        const char *s = lua_tolstring(L, -1, &n);
        answer(1, s, n);
      } else run(L, push_values(L, args, k));
      free(name); free(source); free(args);
    } else if (op == 'K') {
      char *path = read_part(&n), *args = read_part(&k);
      int reached = 1;
      lua_pushglobaltable(L);
      for (char *p = strtok(path, "."); p && reached; p = strtok(NULL, ".")) {
        if ((reached = lua_istable(L, -1))) {
          lua_getfield(L, -1, p);
          lua_remove(L, -2);
        }
      }
      if (reached) run(L, push_values(L, args, k));
      else {
        const char *s = lua_pushfstring(L, "attempt to index a %s value", luaL_typename(L, -1));
        answer(2, s, strlen(s));
      }
      free(path); free(args);
    } else if (op == 'I') {
      char *value = read_part(&n);
      lua_getglobal(L, "_io");
      push_values(L, value, n);
      lua_setfield(L, -2, "input");
      free(value);
      answer(0, "", 0);
    } else if (op == 'P') { /* a module of the host: close to one in package.preload */
      char *name = read_part(&n), *source = read_part(&m);
      luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
      if (!luaL_loadbufferx(L, source, m, lua_pushfstring(L, "=%s", name), "t")) lua_setfield(L, -3, name);
      free(name); free(source);
      answer(0, "", 0);
    } else if (op == 'R') {
      luaL_loadstring(L, reset);
      lua_pushglobaltable(L);
      lua_newtable(L);
      lua_newtable(L);
      static const char *const kept[] = {"_home", "Memory", "_io"};
      for (int i = 0; i < 3; i++) {
        lua_newtable(L);
        int seen = lua_gettop(L);
        lua_getglobal(L, kept[i]);
        strip(L, seen);
        lua_remove(L, seen);
        lua_setfield(L, -3, kept[i]);
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, kept[i]);
      }
      lua_getfield(L, LUA_REGISTRYINDEX, "pristine");
      if (lua_pcall(L, 4, 0, 0)) { fprintf(stderr, "%s\n", lua_tostring(L, -1)); return 5; }
      answer(0, "", 0);
    } else if (op == 'G') {
      lua_gc(L, LUA_GCCOLLECT);
      answer(0, "", 0);
    } else return 6;
  }
  return 0;
}
