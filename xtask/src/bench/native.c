/*
** Native side of `cargo xtask bench`: PUC Lua driven through its C API. Times are processor time, which other work on
** the machine disturbs less than the time of day.
**
**   native program FILE   runs the chunk once; prints nanoseconds, a tab and the result
**   native create COUNT   luaL_newstate + luaL_openlibs + lua_close; prints nanoseconds for each
**   native first COUNT    the same with "return 1+1" run before the close
**   native hostcall COUNT a C function with two integers and one result, called in a Lua loop
**   native compute COUNT  luaL_loadstring + lua_pcall of "return 1+1" in one state
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

static void repeat(const char *what, long count) {
  double start = now();
  long i;
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
  if (strcmp(what, "compute") == 0) {
    lua_State *L = open_state();
    start = now();
    for (i = 0; i < count; i++) {
      one_plus_one(L);
    }
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
  fputs("usage: native program FILE | native create|first|compute|hostcall COUNT\n", stderr);
  return 2;
}
