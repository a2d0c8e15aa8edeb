/*
** Sources that hosts run again and again are compiled once. The compiler
** takes most of the time of a small compute, and for rules, formulas and
** handlers it is the same source each time.
**
** A source is kept from its second run on, so that what runs once costs no
** memory. Each run gets a function of its own; only the code is shared.
*/
#include "luacell.h"

#define PLACES 64u
#define MAX_SOURCE 4096u

static struct {
  unsigned hash;
  unsigned len;
  int ticks; /* what compiling took, and costs each time: see chunk_load */
} seen[PLACES];

/* Anchored at guest.chunks[place * 3 + ...] */
enum { CHUNK_SOURCE = 1, CHUNK_NAME, CHUNK_FUNCTION, CHUNK_FIELDS };

static const TValue *field (unsigned place, int which) {
  return luaH_getint(guest.chunks, place * CHUNK_FIELDS + (unsigned)which);
}

static void keep (lua_State *L, unsigned place, int which, const TValue *v) {
  table_put(L, guest.chunks, place * CHUNK_FIELDS + (unsigned)which, v);
}

static int is_string (const TValue *v, const char *s, size_t n) {
  return ttisstring(v) && vslen(v) == n && memcmp(svalue(v), s, n) == 0;
}

/* A new function with the same code and the globals. */
static void push_instance (lua_State *L, const LClosure *of) {
  LClosure *cl = luaF_newLclosure(L, of->nupvalues);
  TValue env;
  cl->p = of->p;
  setclLvalue2s(L, L->top.p, cl);
  api_incr_top(L);
  luaF_initupvals(L, cl);
  sethvalue(L, &env, globals_table());
  setobj(L, cl->upvals[0]->v.p, &env);
  luaC_barrier(L, cl->upvals[0], &env);
}

/* As luaL_loadbufferx with mode "t". */
int chunk_load (lua_State *L, const char *source, size_t len,
                const char *name) {
  unsigned hash, place;
  size_t name_len = strlen(name);
  int status, again;
  int64_t before;
  if (len > MAX_SOURCE)
    return luaL_loadbufferx(L, source, len, name, "t");
  hash = luaS_hash(source, len, (unsigned)len);
  place = hash % PLACES;
  again = seen[place].hash == hash && seen[place].len == len;
  if (again && is_string(field(place, CHUNK_SOURCE), source, len) &&
      is_string(field(place, CHUNK_NAME), name, name_len)) {
    const TValue *f = field(place, CHUNK_FUNCTION);
    need_stack(L, 2);
    push_instance(L, clLvalue(f));
    luacell_count(seen[place].ticks); /* the same count in every run */
    return LUA_OK;
  }
  before = budget_used();
  status = luaL_loadbufferx(L, source, len, name, "t");
  if (status != LUA_OK) return status;
  seen[place].ticks = (int)(budget_used() - before);
  seen[place].hash = hash;
  seen[place].len = (unsigned)len;
  if (again && clLvalue(s2v(L->top.p - 1))->nupvalues == 1) {
    before = budget_used();
    need_stack(L, 2);
    keep(L, place, CHUNK_FUNCTION, s2v(L->top.p - 1));
    push_string(L, name, name_len);
    keep(L, place, CHUNK_NAME, s2v(L->top.p - 1));
    L->top.p--;
    push_string(L, source, len); /* last: it is what a hit looks at first */
    keep(L, place, CHUNK_SOURCE, s2v(L->top.p - 1));
    L->top.p--;
    push_instance(L, clLvalue(s2v(L->top.p - 1)));
    lua_remove(L, -2);
    luacell_budget += (int)(budget_used() - before); /* not the script's */
  }
  return LUA_OK;
}
