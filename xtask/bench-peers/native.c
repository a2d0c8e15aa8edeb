/*
** Native side of `cargo xtask bench`: PUC Lua driven through its C API. Times are processor time, which other work on
** the machine disturbs less than the time of day.
**
**   native program FILE   runs the chunk once; prints nanoseconds, a tab and the result
**   native create COUNT   luaL_newstate + luaL_openlibs + lua_close; prints nanoseconds for each
**   native first COUNT    the same with "return 1+1" run before the close
**   native hostcall COUNT a C function with two integers and one result, called in a Lua loop
**   native compute COUNT  luaL_loadstring + lua_pcall of "return 1+1" in one state
**   native call COUNT     lua_getglobal + lua_pcall of a Lua function with two integers and one result
**   native records-in COUNT   1,000 records of three fields, made with the C API, that a Lua function adds up
**   native records-out COUNT  the same number of records, made by Lua, copied into C structs
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static lua_State *open_state(void) {
  lua_State *L = luaL_newstate();
  if (L == NULL) {
    fputs("no memory for a Lua state\n", stderr);
    exit(1);
  }
  luaL_openlibs(L);
  return L;
}

static void check(lua_State *L, int status) {
  if (status != LUA_OK) {
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "%s\n", message != NULL ? message : "error without a message");
    exit(1);
  }
}

static void one_plus_one(lua_State *L) {
  check(L, luaL_loadstring(L, "return 1+1"));
  check(L, lua_pcall(L, 0, 1, 0));
  if (lua_tointeger(L, -1) != 2) {
    fputs("1+1 is not 2\n", stderr);
    exit(1);
  }
  lua_pop(L, 1);
}

static void run_program(const char *file) {
  lua_State *L = open_state();
  double start;
  double end;
  /* Reading the file is not what is measured. */
  FILE *f = fopen(file, "rb");
  static char source[1 << 20];
  size_t length;
  if (f == NULL) {
    perror(file);
    exit(1);
  }
  length = fread(source, 1, sizeof source, f);
  fclose(f);
  start = now();
  check(L, luaL_loadbuffer(L, source, length, "=program"));
  check(L, lua_pcall(L, 0, 1, 0));
  end = now();
  printf("%.0f\t%s\n", end - start, luaL_tolstring(L, -1, NULL));
  lua_close(L);
}

static int add(lua_State *L) {
  lua_pushinteger(L, luaL_checkinteger(L, 1) + luaL_checkinteger(L, 2));
  return 1;
}

static void call_host(lua_State *L, long count) {
  check(L, luaL_loadstring(L, "local add = add for i = 1, ... do add(i, 2) end"));
  lua_pushinteger(L, count);
  check(L, lua_pcall(L, 1, 0, 0));
}

static void run_source(lua_State *L, const char *source) {
  check(L, luaL_loadstring(L, source));
  check(L, lua_pcall(L, 0, 0, 0));
}

static void call_lua(lua_State *L) {
  lua_getglobal(L, "sum");
  lua_pushinteger(L, 1);
  lua_pushinteger(L, 2);
  check(L, lua_pcall(L, 2, 1, 0));
  if (lua_tointeger(L, -1) != 3) {
    fputs("1+2 is not 3\n", stderr);
    exit(1);
  }
  lua_pop(L, 1);
}

enum { RECORDS = 1000 };

static void records_in(lua_State *L) {
  int i;
  lua_getglobal(L, "total");
  lua_createtable(L, RECORDS, 0);
  for (i = 1; i <= RECORDS; i++) {
    char name[32];
    int length = snprintf(name, sizeof name, "record %d", i);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, i);
    lua_setfield(L, -2, "id");
    lua_pushlstring(L, name, (size_t)length);
    lua_setfield(L, -2, "name");
    lua_pushnumber(L, i * 0.5);
    lua_setfield(L, -2, "value");
    lua_rawseti(L, -2, i);
  }
  check(L, lua_pcall(L, 1, 1, 0));
  if (lua_tonumber(L, -1) != 760643.0) {
    fputs("the records add up to something else\n", stderr);
    exit(1);
  }
  lua_pop(L, 1);
}

typedef struct {
  lua_Integer id;
  char *name;
  size_t length;
  double value;
} record;

static void records_out(lua_State *L) {
  record *records = malloc(RECORDS * sizeof *records);
  double sum = 0;
  int i;
  if (records == NULL) {
    exit(1);
  }
  lua_getglobal(L, "make");
  check(L, lua_pcall(L, 0, 1, 0));
  for (i = 0; i < RECORDS; i++) {
    record *r = &records[i];
    const char *name;
    lua_rawgeti(L, -1, i + 1);
    lua_getfield(L, -1, "id");
    lua_getfield(L, -2, "name");
    lua_getfield(L, -3, "value");
    r->id = lua_tointeger(L, -3);
    r->value = lua_tonumber(L, -1);
    name = lua_tolstring(L, -2, &r->length);
    r->name = malloc(r->length + 1);
    if (name == NULL || r->name == NULL) {
      exit(1);
    }
    memcpy(r->name, name, r->length + 1);
    lua_pop(L, 4);
  }
  lua_pop(L, 1);
  for (i = 0; i < RECORDS; i++) {
    sum += (double)records[i].id + records[i].value + (double)records[i].length;
    free(records[i].name);
  }
  free(records);
  if (sum != 760643.0) {
    fputs("the records add up to something else\n", stderr);
    exit(1);
  }
}

/* As in the bench runner's values.rs. */
#define FUNCTIONS \
  "function sum(a, b) return a + b end " \
  "function total(list) local s = 0 for i = 1, #list do local r = list[i] s = s + r.id + r.value + #r.name end return s end " \
  "local kept = {} for i = 1, 1000 do kept[i] = {id = i, name = 'record ' .. i, value = i * 0.5} end " \
  "function make() return kept end"

static const struct {
  const char *name;
  void (*run)(lua_State *L);
} operations[] = {
  {"compute", one_plus_one},
  {"call", call_lua},
  {"records-in", records_in},
  {"records-out", records_out},
};

/* What is done again and again in one state; 0 when it is none of these. */
static int repeat_in_state(const char *what, long count) {
  size_t which;
  for (which = 0; which < sizeof operations / sizeof *operations; which++) {
    if (strcmp(what, operations[which].name) == 0) {
      lua_State *L = open_state();
      double start;
      long i;
      run_source(L, FUNCTIONS);
      for (i = 0; i < count / 10; i++) {
        operations[which].run(L);
      }
      start = now();
      for (i = 0; i < count; i++) {
        operations[which].run(L);
      }
      printf("%.2f\n", (now() - start) / (double)count);
      lua_close(L);
      return 1;
    }
  }
  return 0;
}

static void repeat(const char *what, long count) {
  double start = now();
  long i;
  if (repeat_in_state(what, count)) {
    return;
  }
  if (strcmp(what, "hostcall") == 0) {
    lua_State *L = open_state();
    lua_register(L, "add", add);
    call_host(L, count);
    start = now();
    call_host(L, count);
    printf("%.2f\n", (now() - start) / (double)count);
    lua_close(L);
    return;
  }
  for (i = 0; i < count; i++) {
    lua_State *L = open_state();
    if (strcmp(what, "first") == 0) {
      one_plus_one(L);
    }
    lua_close(L);
  }
  printf("%.2f\n", (now() - start) / (double)count);
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "program") == 0) {
    run_program(argv[2]);
    return 0;
  }
  if (argc == 3 && atol(argv[2]) > 0) {
    repeat(argv[1], atol(argv[2]));
    return 0;
  }
  fputs("usage: native program FILE | native MODE COUNT\n", stderr);
  return 2;
}
