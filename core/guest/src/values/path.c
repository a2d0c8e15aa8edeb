/*
** The place of a value inside data, for messages: "_home.config.list[3]".
*/
#include "values/values.h"

static Bytes path = {.kind = PASSING};

static void add (lua_State *L, const char *s, size_t n) {
  if (!bytes_add(&path, s, n)) luacell_memory_error(L);
}

void path_start (lua_State *L, const char *root) {
  path.len = 0;
  add(L, root, strlen(root));
}

void path_cut (lua_State *L) { add(L, "...", 3); }

void path_upvalue (lua_State *L, const char *name) {
  add(L, "(upvalue ", 9);
  add(L, name, strlen(name));
  add(L, ")", 1);
}

/* ".name" or "[key]"; nil adds nothing. */
void path_key (lua_State *L, const TValue *key) {
  TValue text = *key;
  if (ttisnil(key)) return;
  if (ttisstring(key)) {
    size_t n = vslen(key);
    add(L, ".", 1);
    add(L, svalue(key), n < 60 ? n : 60);
    return;
  }
  add(L, "[", 1);
  if (ttisnumber(key)) {
    need_stack(L, 1);
    luaO_tostring(L, &text);
    setobj2s(L, L->top.p, &text); /* 'add' may collect */
    L->top.p++;
    add(L, svalue(&text), vslen(&text));
    L->top.p--;
  }
  else if (ttisboolean(key))
    add(L, ttistrue(key) ? "true" : "false", ttistrue(key) ? 4 : 5);
  else
    add(L, "...", 3);
  add(L, "]", 1);
}

/*
** Adds the keys of open tables, each of which takes so many bytes and has its
** key in the same place; a long way is cut in the middle.
*/
void path_through (lua_State *L, const Bytes *open, size_t size, size_t key) {
  size_t n = open->len / size, i;
  for (i = 0; i < n; i++) {
    if (n > 12 && i == 6) {
      path_cut(L);
      i = n - 6;
      continue;
    }
    path_key(L, (const TValue *)(open->p + i * size + key));
  }
}

const char *path_text (lua_State *L) {
  add(L, "", 1);
  return (const char *)path.p;
}
