/*
** The module "json".
*/
#include "json/json.h"

static Bytes text = {.kind = PASSING};

int json_incomplete;

void json_start (void) {
  text.len = 0;
  json_incomplete = 0;
}

/* Adds to the text; whether there was memory is asked in the end. */
void json_put (const void *s, size_t n) {
  /* asking again and again would collect each time */
  if (!json_incomplete && !bytes_add(&text, s, n)) json_incomplete = 1;
}

void json_push_text (lua_State *L) {
  if (json_incomplete) {
    bytes_shrink(&text); /* whoever catches the error goes on with little */
    luacell_memory_error(L);
  }
  push_string(L, (const char *)text.p, text.len);
  bytes_shrink(&text);
}

#define ONES (~(uint64_t)0 / 255)

/*
** The first byte that does not stand for itself in a string: a quote, an
** escape, a control, or one that is not UTF-8. 'end' points at a control.
*/
const byte *json_skip_plain (lua_State *L, const byte *p, const byte *end) {
  while (*p >= ' ' && *p != '"' && *p != '\\') {
    size_t n = utf8_length(p, end);
    luacell_look(L);
    if (n == 0) break;
    p += n;
    while (end - p >= 8) {
      uint64_t v;
      memcpy(&v, p, sizeof v);
      if ((((v ^ ONES * '"') - ONES) | ((v ^ ONES * '\\') - ONES) |
           (v - ONES * ' ') | v) & ONES << 7)
        break;
      luacell_look(L);
      p += 8;
    }
  }
  return p;
}

/* json.array(t): t, which is a list from now on, even when it is empty. */
static int array (lua_State *L) {
  Table *t;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  t = hvalue(s2v(L->top.p - 1));
  luaL_argcheck(L, t->extid == 0, 1,
                "a stored table can't be marked as a list");
  table_set_shape(t, luacell_SHAPE_LIST);
  return 1;
}

int json_open (lua_State *L) {
  static const luaL_Reg functions[] = {
    {"array", array}, {"decode", json_decode}, {"encode", json_encode},
    {NULL, NULL}
  };
  luaL_newlib(L, functions);
  null_push(L);
  lua_setfield(L, -2, "null");
  return 1;
}
