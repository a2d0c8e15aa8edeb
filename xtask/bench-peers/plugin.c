/*
** A Lua plug-in for extism, the peer of `cargo xtask bench --peers`: JSON in, JSON out, as such plug-ins are made.
**
**   eval    {"source": TEXT, "args": [...]}: runs it in a Lua that is made for this call
**   define  Lua source: runs it in a Lua that stays
**   call    ["name", arguments...]: calls a global function of that Lua
**
** Lua is compiled without its error handling (an error is a trap), which makes it faster, if anything.
*/
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

#define HOST(name) __attribute__((import_module("extism:host/env"), import_name(#name))) extern
#define EXPORT(name) __attribute__((export_name(#name)))

HOST(input_length) uint64_t input_length(void);
HOST(input_load_u8) uint32_t input_load_u8(uint64_t offset);
HOST(input_load_u64) uint64_t input_load_u64(uint64_t offset);
HOST(alloc) uint64_t extism_alloc(uint64_t length);
HOST(store_u8) void store_u8(uint64_t at, uint32_t byte);
HOST(store_u64) void store_u64(uint64_t at, uint64_t bytes);
HOST(output_set) void output_set(uint64_t at, uint64_t length);

static void fail(const char *message) {
  fprintf(stderr, "plug-in: %s\n", message);
  __builtin_trap();
}

typedef struct {
  char *bytes;
  size_t length;
  size_t room;
} text;

static void reserve(text *t, size_t more) {
  if (t->length + more > t->room) {
    t->room = 2 * (t->length + more) + 64;
    t->bytes = realloc(t->bytes, t->room);
    if (t->bytes == NULL) fail("no memory");
  }
}

static void put(text *t, const char *bytes, size_t length) {
  reserve(t, length);
  memcpy(t->bytes + t->length, bytes, length);
  t->length += length;
}

/* Both buffers are kept for the next call. */
static text input;
static text output;

static void read_input(void) {
  uint64_t length = input_length();
  uint64_t at = 0;
  input.length = 0;
  reserve(&input, (size_t)length + 8);
  for (; at + 8 <= length; at += 8) {
    uint64_t bytes = input_load_u64(at);
    memcpy(input.bytes + at, &bytes, 8);
  }
  for (; at < length; at++) input.bytes[at] = (char)input_load_u8(at);
  input.length = (size_t)length;
  input.bytes[length] = 0;
}

static void write_output(void) {
  uint64_t place = extism_alloc(output.length);
  size_t at = 0;
  for (; at + 8 <= output.length; at += 8) {
    uint64_t bytes;
    memcpy(&bytes, output.bytes + at, 8);
    store_u64(place + at, bytes);
  }
  for (; at < output.length; at++) store_u8(place + at, (uint8_t)output.bytes[at]);
  output_set(place, output.length);
}

static const char *blank(const char *p) {
  while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r') p++;
  return p;
}

static const char *read_string(lua_State *L, const char *p) {
  const char *start = ++p;
  luaL_Buffer b;
  while (*p != '"' && *p != '\\' && *p != 0) p++;
  if (*p == '"') {
    lua_pushlstring(L, start, (size_t)(p - start));
    return p + 1;
  }
  luaL_buffinit(L, &b);
  luaL_addlstring(&b, start, (size_t)(p - start));
  while (*p != '"') {
    if (*p == 0) fail("a string without an end");
    if (*p != '\\') {
      luaL_addchar(&b, *p++);
      continue;
    }
    switch (p[1]) {
      case 'n': luaL_addchar(&b, '\n'); break;
      case 't': luaL_addchar(&b, '\t'); break;
      case 'r': luaL_addchar(&b, '\r'); break;
      case '"': case '\\': case '/': luaL_addchar(&b, p[1]); break;
      default: fail("an escape that this plug-in does not know");
    }
    p += 2;
  }
  luaL_pushresult(&b);
  return p + 1;
}

static const char *read_value(lua_State *L, const char *p) {
  p = blank(p);
  luaL_checkstack(L, 4, NULL);
  if (*p == '"') return read_string(L, p);
  if (*p == '[') {
    lua_Integer i = 0;
    lua_newtable(L);
    p = blank(p + 1);
    while (*p != ']') {
      p = blank(read_value(L, p));
      lua_rawseti(L, -2, ++i);
      if (*p == ',') p = blank(p + 1);
      else if (*p != ']') fail("a list without an end");
    }
    return p + 1;
  }
  if (*p == '{') {
    lua_newtable(L);
    p = blank(p + 1);
    while (*p != '}') {
      if (*p != '"') fail("a key that is no string");
      p = blank(read_string(L, p));
      if (*p != ':') fail("a key without a value");
      p = blank(read_value(L, p + 1));
      lua_rawset(L, -3);
      if (*p == ',') p = blank(p + 1);
      else if (*p != '}') fail("an object without an end");
    }
    return p + 1;
  }
  if (strncmp(p, "true", 4) == 0) return lua_pushboolean(L, 1), p + 4;
  if (strncmp(p, "false", 5) == 0) return lua_pushboolean(L, 0), p + 5;
  if (strncmp(p, "null", 4) == 0) return lua_pushnil(L), p + 4;
  {
    char *end;
    long long integer = strtoll(p, &end, 10);
    if (end == p) fail("no JSON");
    if (*end == '.' || *end == 'e' || *end == 'E') lua_pushnumber(L, strtod(p, &end));
    else lua_pushinteger(L, integer);
    return end;
  }
}

static void write_string(const char *bytes, size_t length) {
  size_t i;
  reserve(&output, 2 * length + 2);
  output.bytes[output.length++] = '"';
  for (i = 0; i < length; i++) {
    char c = bytes[i];
    if (c == '"' || c == '\\' || c == '\n') {
      output.bytes[output.length++] = '\\';
      c = c == '\n' ? 'n' : c;
    }
    output.bytes[output.length++] = c;
  }
  output.bytes[output.length++] = '"';
}

static void write_value(lua_State *L, int at) {
  char number[40];
  size_t length;
  const char *bytes;
  luaL_checkstack(L, 4, NULL);
  at = lua_absindex(L, at);
  switch (lua_type(L, at)) {
    case LUA_TNIL: put(&output, "null", 4); break;
    case LUA_TBOOLEAN: lua_toboolean(L, at) ? put(&output, "true", 4) : put(&output, "false", 5); break;
    case LUA_TNUMBER:
      length = (size_t)(lua_isinteger(L, at) ? snprintf(number, sizeof number, "%lld", (long long)lua_tointeger(L, at))
                                             : snprintf(number, sizeof number, "%.17g", lua_tonumber(L, at)));
      put(&output, number, length);
      break;
    case LUA_TSTRING:
      bytes = lua_tolstring(L, at, &length);
      write_string(bytes, length);
      break;
    case LUA_TTABLE: {
      lua_Integer n = (lua_Integer)lua_rawlen(L, at);
      if (n > 0) {
        lua_Integer i;
        put(&output, "[", 1);
        for (i = 1; i <= n; i++) {
          if (i > 1) put(&output, ",", 1);
          lua_rawgeti(L, at, i);
          write_value(L, -1);
          lua_pop(L, 1);
        }
        put(&output, "]", 1);
      } else {
        int first = 1;
        put(&output, "{", 1);
        for (lua_pushnil(L); lua_next(L, at) != 0; lua_pop(L, 1)) {
          if (!first) put(&output, ",", 1);
          first = 0;
          bytes = lua_tolstring(L, -2, &length);
          write_string(bytes, length);
          put(&output, ":", 1);
          write_value(L, -1);
        }
        put(&output, "}", 1);
      }
      break;
    }
    default: fail("a value that JSON has not");
  }
}

static lua_State *new_state(void) {
  static const luaL_Reg libraries[] = {
    {LUA_GNAME, luaopen_base}, {LUA_COLIBNAME, luaopen_coroutine}, {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string},
    {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8},
  };
  lua_State *L = luaL_newstate();
  size_t i;
  if (L == NULL) fail("no memory");
  for (i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
    lua_pop(L, 1);
  }
  return L;
}

/* Pushes the elements of the list on top, from one of them on; how many. */
static int spread(lua_State *L, lua_Integer from) {
  int list = lua_gettop(L);
  lua_Integer n = (lua_Integer)lua_rawlen(L, list);
  lua_Integer i;
  luaL_checkstack(L, (int)n + 1, NULL);
  for (i = from; i <= n; i++) lua_rawgeti(L, list, i);
  return (int)(n - from + 1);
}

static void answer(lua_State *L) {
  output.length = 0;
  write_value(L, -1);
  write_output();
}

EXPORT(eval) int32_t eval(void) {
  lua_State *L = new_state();
  read_input();
  read_value(L, input.bytes);
  lua_getfield(L, -1, "source");
  if (luaL_loadstring(L, lua_tostring(L, -1)) != LUA_OK) fail("a syntax error");
  lua_getfield(L, -3, "args");
  if (lua_istable(L, -1)) {
    int args = spread(L, 1);
    lua_remove(L, -1 - args);
    lua_call(L, args, 1);
  } else {
    lua_pop(L, 1);
    lua_call(L, 0, 1);
  }
  answer(L);
  lua_close(L);
  return 0;
}

static lua_State *kept;

EXPORT(define) int32_t define(void) {
  if (kept == NULL) kept = new_state();
  read_input();
  if (luaL_loadbuffer(kept, input.bytes, input.length, "=define") != LUA_OK) fail("a syntax error");
  lua_call(kept, 0, 0);
  return 0;
}

EXPORT(call) int32_t call(void) {
  int args;
  if (kept == NULL) fail("nothing is defined");
  read_input();
  read_value(kept, input.bytes);
  lua_rawgeti(kept, -1, 1);
  lua_getglobal(kept, lua_tostring(kept, -1));
  lua_replace(kept, -2);
  lua_insert(kept, -2);
  args = spread(kept, 2);
  lua_remove(kept, -1 - args);
  lua_call(kept, args, 1);
  answer(kept);
  lua_settop(kept, 0);
  return 0;
}
