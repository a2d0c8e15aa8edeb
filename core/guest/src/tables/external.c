/*
** Reading and writing entries of external tables, as Lua's own code asks for it.
*/
#include "tables/tables.h"

/* A collector step, with the value just made in reach of the collector. */
static void step (lua_State *L, StkId val) {
  ptrdiff_t top = savestack(L, L->top.p);
  if (G(L)->GCdebt <= 0) return;
  if (val >= L->top.p) L->top.p = val + 1;
  luaC_step(L);
  L->top.p = restorestack(L, top);
}

int luacell_get (lua_State *L, Table *t, const TValue *key, StkId *val) {
  size_t klen, n;
  const char *k;
  const byte *p;
  const TValue *known = cache_find(t->extid, key);
  TValue wanted = *key; /* the value may take its place */
  StkId to = *val;
  if (known != NULL) {
    setobj2s(L, to, known);
    return 1;
  }
  k = key_to_text(L, key, &klen);
  if (k == NULL || (p = host_get(L, t->extid, k, klen, &n)) == NULL)
    return 0;
  if (n == 1 && p[0] == TAG_NIL) return 0;
  if (n == 9 && p[0] == TAG_INTEGER) {
    lua_Integer i;
    memcpy(&i, p + 1, 8);
    setivalue(s2v(to), i);
  }
  else if (n == 9 && p[0] == TAG_FLOAT) {
    lua_Number x;
    memcpy(&x, p + 1, 8);
    setfltvalue(s2v(to), x);
  }
  else if (n == 2 && p[0] == TAG_BOOLEAN) {
    if (p[1]) {
      setbtvalue(s2v(to));
    }
    else {
      setbfvalue(s2v(to));
    }
  }
  else if (n == 5 && p[0] == TAG_EXTERNAL &&
           (known = objects_find(get_u32(p + 1))) != NULL &&
           ttistable(known)) {
    setobj2s(L, to, known);
  }
  else if (n >= 5 && p[0] == TAG_STRING && get_u32(p + 1) == n - 5) {
    TString *ts = luaS_newlstr(L, (const char *)p + 5, n - 5);
    setsvalue2s(L, to, ts);
    cache_keep(t->extid, &wanted, s2v(to), host_cost(n + klen));
    step(L, to);
    return 1;
  }
  else {
    ptrdiff_t place = savestack(L, to);
    ptrdiff_t top = savestack(L, L->top.p);
    need_stack(L, 20);
    if (restorestack(L, place) == L->top.p) {
      setnilvalue(s2v(L->top.p)); /* the collector looks at it */
      L->top.p++;
    }
    gc_hold(L);
    load_value(L, p, n);
    gc_release(L);
    to = restorestack(L, place);
    setobjs2s(L, to, L->top.p - 1);
    L->top.p = restorestack(L, top);
    step(L, to);
    return 1;
  }
  cache_keep(t->extid, &wanted, s2v(to), host_cost(n + klen));
  return 1;
}

int luacell_has (lua_State *L, Table *t, const TValue *key) {
  size_t klen, n;
  const char *k = key_to_text(L, key, &klen);
  const byte *p = k == NULL ? NULL : host_get(L, t->extid, k, klen, &n);
  return p != NULL && !(n == 1 && p[0] == TAG_NIL);
}

void luacell_set (lua_State *L, Table *t, const TValue *key,
                  const TValue *val) {
  size_t klen;
  const char *k = key_to_text(L, key, &klen);
  if (l_unlikely(k == NULL)) {
    if (ttisnil(key)) luaG_runerror(L, "table index is nil");
    if (ttisfloat(key)) luaG_runerror(L, "table index is NaN");
    luacell_error(L, KIND_CONVERSION,
                  "can't use a %s as a key of an external table",
                  type_name(L, key));
  }
  cache_drop(t->extid, key);
  if (ttisnil(val))
    host_delete(L, t->extid, k, klen);
  else {
    TValue shown = *key;
    store_value(L, t->extid, k, klen, val, &shown);
  }
}

static int has_index (lua_State *L, Table *t, lua_Unsigned i) {
  TValue key;
  setivalue(&key, l_castU2S(i));
  return luacell_has(L, t, &key);
}

/*
** With n entries, keys 1 to n are there when the table is a sequence. No
** border lies beyond twice n, whatever a host says.
*/
lua_Unsigned luacell_length (lua_State *L, Table *t) {
  lua_Unsigned low = 0, high = host_size(t->extid);
  if (high == 0) return 0;
  if (has_index(L, t, high)) {
    lua_Unsigned end = high * 2;
    while (high < end && has_index(L, t, high + 1)) {
      luacell_look(L);
      high++;
    }
    return high;
  }
  while (high - low > 1) {
    lua_Unsigned middle = low + (high - low) / 2;
    if (has_index(L, t, middle)) low = middle;
    else high = middle;
  }
  return low;
}
