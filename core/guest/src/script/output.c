/*
** print: captured until the run ends, or handed to the host line by line.
*/
#include "script/script.h"

Bytes luacell_output;

#define NO_LIMIT SIZE_MAX

static size_t limit = NO_LIMIT;
static size_t sent; /* in this run, to a host that takes it at once */
static int streaming;

void output_set_limit (uint32_t bytes) {
  limit = bytes == 0 ? NO_LIMIT : bytes == UINT32_MAX ? 0 : bytes;
}

void output_set_streaming (int flag) { streaming = flag != 0; }

size_t output_so_far (void) { return sent + luacell_output.len; }

void output_begin_run (void) {
  bytes_shrink(&luacell_output);
  sent = 0;
}

/* Ends the run if there is no room for so many more bytes. */
static void check_room (lua_State *L, size_t n) {
  if (limit != NO_LIMIT && n > limit - output_so_far())
    luacell_refuse(L, KIND_OUTPUT_LIMIT);
}

static void write_output (lua_State *L, const char *s, size_t n) {
  check_room(L, n);
  if (!bytes_add(&luacell_output, s, n)) luacell_memory_error(L);
}

/* The request stands in the buffer itself; a host that can't leaves it be. */
static void send_output (lua_State *L, size_t start) {
  size_t n = luacell_output.len - start - 1;
  size_t len;
  luacell_count(16 + (n >> 5));
  sent++;
  luacell_output.p[start] = OPERATION_PRINT;
  if (host_request(L, luacell_output.p + start, n + 1, &len) == NULL)
    memmove(luacell_output.p + start, luacell_output.p + start + 1, n);
  else {
    sent += n;
    n = 0;
  }
  luacell_output.len = start + n;
  if (n == 0) budget_ask(L); /* the host may have had enough */
}

/* The values have become texts. */
static int print_line (lua_State *L) {
  int n = lua_gettop(L);
  int i;
  size_t start, room = 2; /* for the operation, and the end of the line */
  for (i = 1; i <= n; i++) {
    size_t len = lua_rawlen(L, i);
    luacell_look(L);
    room = len < INT_MAX - room ? room + len + 1 : INT_MAX;
  }
  /* a lack of memory must leave no part of a line, which would count */
  if (!bytes_reserve(&luacell_output, room)) luacell_memory_error(L);
  start = luacell_output.len;
  if (streaming) {
    check_room(L, room - (n > 0 ? 2 : 1)); /* before there is part of one */
    sent--; /* room for the operation, which does not count */
    write_output(L, "", 1);
  }
  for (i = 1; i <= n; i++) {
    size_t len;
    const char *s = lua_tolstring(L, i, &len);
    if (i > 1) write_output(L, "\t", 1);
    write_output(L, s, len);
  }
  write_output(L, "\n", 1);
  if (streaming) send_output(L, start);
  return 0;
}

static int text_made (lua_State *L, int status, lua_KContext i);

/* The text for the value at this index is at the top. */
static void check_text (lua_State *L, int i) {
  if (!lua_isstring(L, -1))
    luaL_error(L, "'__tostring' must return a string");
  lua_tolstring(L, -1, NULL); /* of a number, maybe */
  lua_replace(L, i);
}

/* All texts first: making them may print too, and wait. */
static int make_texts (lua_State *L, int i) {
  int n = lua_gettop(L);
  for (; i <= n; i++) {
    luacell_look(L);
    if (luacell_can_wait(L) &&
        luaL_getmetafield(L, i, "__tostring") != LUA_TNIL) {
      lua_pushvalue(L, i);
      luacell_callk(L, 1, 1, i, text_made);
      check_text(L, i);
      continue;
    }
    luaL_tolstring(L, i, NULL);
    lua_replace(L, i);
  }
  return print_line(L);
}

static int text_made (lua_State *L, int status, lua_KContext i) {
  (void)status;
  check_text(L, (int)i);
  return make_texts(L, (int)i + 1);
}

int luacell_print (lua_State *L) { return make_texts(L, 1); }
