/*
** Walking and filling Lua tables from C without going through the stack.
*/
#include "luacell.h"

/*
** The next entry at or after *pos, in the order of 'next'; 0 at the end.
** The table must not change in between.
*/
int table_step (const Table *t, unsigned *pos, TValue *key, TValue *val) {
  unsigned asize = luaH_realasize(t);
  unsigned size = asize + sizenode(t);
  while (*pos < size) {
    unsigned i = (*pos)++;
    if (i < asize) {
      if (isempty(&t->array[i])) continue;
      setivalue(key, (lua_Integer)i + 1);
      *val = t->array[i];
    }
    else {
      const Node *n = gnode(t, i - asize);
      if (isempty(gval(n))) continue;
      getnodekey(guest.L, key, n);
      *val = *gval(n);
    }
    return 1;
  }
  return 0;
}

/* t[key] = val, raw. The caller keeps 'val' alive. */
void table_put (lua_State *L, Table *t, lua_Integer key, const TValue *val) {
  TValue copy = *val;
  luaH_setint(L, t, key, &copy);
  luaC_barrierback(L, obj2gco(t), &copy);
}

/* Removes all entries and their memory. */
void table_clear (lua_State *L, Table *t) {
  unsigned i, asize = luaH_realasize(t);
  for (i = 0; i < asize; i++) setempty(&t->array[i]);
  if (!isdummy(t))
    for (i = 0; i < (unsigned)sizenode(t); i++) setempty(gval(gnode(t, i)));
  invalidateTMcache(t);
  luaH_resize(L, t, 0, 0);
}

/* A table that lives as long as the state; 'mode' makes it weak. */
Table *table_new_anchored (lua_State *L, const char *mode) {
  Table *t;
  lua_newtable(L);
  if (mode != NULL) {
    lua_newtable(L);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
  }
  t = hvalue(s2v(L->top.p - 1));
  t->extmark = luacell_GUESTS;
  luaL_ref(L, LUA_REGISTRYINDEX);
  return t;
}

/* A stored table has its shape in Lua's memory alone, where it may not stay: so
   that does not count. */
unsigned table_shape (const Table *t) {
  return t->extid == 0 ? t->extmark & ~luacell_PLACE : 0;
}

void table_set_shape (Table *t, unsigned shape) {
  t->extmark = (t->extmark & luacell_PLACE) | shape;
}

int table_is_list (const Table *t) {
  return table_shape(t) == luacell_SHAPE_LIST;
}

/*
** How many values a list has. The field 'n' says so where there are nils among
** them; is that so?
*/
int table_list_length (Table *t, unsigned *n) {
  const TValue *length;
  *n = (unsigned)luaH_getn(t);
  if (!table_is_list(t)) return 0;
  length = luaH_getshortstr(t, guest.length_name);
  if (!ttisinteger(length) || l_castS2U(ivalue(length)) > INT_MAX) return 0;
  if ((unsigned)ivalue(length) > *n) *n = (unsigned)ivalue(length);
  return 1;
}

int is_length_field (const TValue *key) {
  return ttisshrstring(key) && tsvalue(key) == guest.length_name;
}

static const byte null_place; /* the address counts */

void null_push (lua_State *L) { lua_pushlightuserdata(L, (void *)&null_place); }

int null_is (const TValue *v) {
  return ttislightuserdata(v) && pvalue(v) == &null_place;
}

/* What people call a value of this type. */
const char *type_name (lua_State *L, const TValue *v) {
  if (ttype(v) == LUA_TTHREAD) return "coroutine";
  if (null_is(v)) return "json.null";
  return luaT_objtypename(L, v);
}

/* As lua_pushlstring, but without a step of the collector. */
void push_string (lua_State *L, const char *s, size_t n) {
  TString *ts = luaS_newlstr(L, s, n);
  setsvalue2s(L, L->top.p, ts);
  api_incr_top(L);
}

/* The table of globals. */
Table *globals_table (void) {
  return hvalue(&hvalue(&G(guest.L)->l_registry)
                     ->array[LUA_RIDX_GLOBALS - 1]);
}

int is_globals (const TValue *v) {
  return ttistable(v) && hvalue(v) == globals_table();
}
