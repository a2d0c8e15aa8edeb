/*
** Lua functions in a store.
**
** A function with upvalues of its own is described by an external table, and
** each of its upvalues by a cell table, so that functions which share an
** upvalue share the cell. While a run lasts, cells are ordinary upvalues;
** when it ends well, those whose value changed are written back.
*/
#include "tables/tables.h"

/* {== Loading, with a list instead of recursion */

static Bytes pending = {.kind = PASSING}; /* of unsigned: ids of cells whose value must be read */

/* Ids of functions and cells that are registered and not whole yet. */
static Bytes unfinished = {.kind = PASSING};

static void begin_object (lua_State *L, unsigned id) {
  if (!bytes_add(&unfinished, &id, sizeof id)) luacell_memory_error(L);
}

/* Nobody may find what could not be loaded whole. */
static void drop_unfinished (size_t base) {
  while (unfinished.len > base) {
    unsigned id;
    const TValue *o;
    unfinished.len -= sizeof id;
    memcpy(&id, unfinished.p + unfinished.len, sizeof id);
    o = objects_find(id);
    if (o == NULL) continue;
    if (ttypetag(o) == LUA_VLCL) clLvalue(o)->extid = 0;
    else if (ttypetag(o) == LUA_VUPVAL) cell_unbind(gco2upv(gcvalue(o)));
    setempty((TValue *)o);
  }
}

static l_noret broken (lua_State *L, unsigned id) {
  luacell_error(L, KIND_STORE, "the stored function %d is incomplete",
                (int)id);
}

static void read_upvalue (lua_State *L, LClosure *cl, int i, unsigned id) {
  TValue number;
  size_t klen, n;
  const char *k;
  const byte *p;
  unsigned cell;
  const TValue *known;
  setivalue(&number, i + 1);
  k = key_to_text(L, &number, &klen);
  p = host_get(L, id, k, klen, &n);
  if (p == NULL) broken(L, id);
  if (n != 5 || p[0] != TAG_STORED_UPVALUE) {
    load_value(L, p, n);
    setobj(L, cl->upvals[i]->v.p, s2v(L->top.p - 1));
    luaC_barrier(L, cl->upvals[i], s2v(L->top.p - 1));
    lua_pop(L, 1);
    return;
  }
  cell = get_u32(p + 1);
  known = objects_find(cell);
  if (known != NULL && ttypetag(known) == LUA_VUPVAL) {
    cl->upvals[i] = gco2upv(gcvalue(known));
    luaC_objbarrier(L, cl, cl->upvals[i]);
    return;
  }
  begin_object(L, cell);
  cell_bind(L, cl->upvals[i], cell);
  if (!bytes_add(&pending, &cell, sizeof cell)) luacell_memory_error(L);
}

/* Pushes the function that table 'id' describes, its upvalues maybe nil. */
static void start_closure (lua_State *L, unsigned id) {
  const TValue *known = objects_find(id);
  LClosure *cl;
  size_t n;
  byte *p;
  int i;
  need_stack(L, 10);
  if (known != NULL && ttypetag(known) == LUA_VLCL) {
    setobj2s(L, L->top.p, known);
    api_incr_top(L);
    return;
  }
  p = host_get(L, id, "code", 4, &n);
  if (p == NULL || n < 5 || p[0] != TAG_STRING) broken(L, id);
  lua_pushlstring(L, (const char *)p + 5, n - 5);
  if (luaL_loadbufferx(L, lua_tostring(L, -1), n - 5, "=(stored function)",
                       "b") != LUA_OK)
    broken(L, id);
  lua_remove(L, -2);
  cl = clLvalue(s2v(L->top.p - 1));
  begin_object(L, id);
  cl->extid = id;
  objects_put(L, id, s2v(L->top.p - 1));
  for (i = 0; i < cl->nupvalues; i++) read_upvalue(L, cl, i, id);
}

/* Pushes what a cell holds; functions are only started. */
static void push_cell_value (lua_State *L, unsigned id) {
  size_t n;
  const byte *p = host_get(L, id, "value", 5, &n);
  if (p == NULL)
    lua_pushnil(L);
  else if (n == 5 && p[0] == TAG_STORED_FUNCTION)
    start_closure(L, get_u32(p + 1));
  else
    load_value(L, p, n);
}

static void load (lua_State *L, void *ud) {
  size_t base = pending.len;
  start_closure(L, *(unsigned *)ud);
  while (pending.len > base) {
    unsigned cell;
    const TValue *known;
    UpVal *uv;
    pending.len -= sizeof cell;
    memcpy(&cell, pending.p + pending.len, sizeof cell);
    push_cell_value(L, cell);
    known = objects_find(cell);
    if (known == NULL || ttypetag(known) != LUA_VUPVAL) broken(L, cell);
    uv = gco2upv(gcvalue(known));
    setobj(L, uv->v.p, s2v(L->top.p - 1));
    luaC_barrier(L, uv, s2v(L->top.p - 1));
    table_put(L, guest.cells_saved, cell, uv->v.p);
    lua_pop(L, 1);
  }
}

void closure_load (lua_State *L, unsigned id) {
  size_t base = unfinished.len, pending_before = pending.len;
  int status;
  gc_hold(L);
  status = luaD_pcall(L, load, &id, savestack(L, L->top.p), L->errfunc);
  if (l_unlikely(status != LUA_OK)) {
    drop_unfinished(base);
    pending.len = pending_before;
    luaD_throw(L, status);
  }
  if (base == 0) bytes_shrink(&unfinished);
  gc_release(L);
}

/* }== */

/* Stores the upvalues that have changed. */
void closures_store_changed (lua_State *L) {
  unsigned i, id;
  const UpVal *uv;
  for (i = 1; cells_next_changed(&i, &id, &uv); i++) {
    TValue key;
    lua_pushliteral(L, "value");
    key = *s2v(L->top.p - 1);
    store_value(L, id, "value", 5, uv->v.p, &key);
    lua_pop(L, 1);
    cells_note_saved(L, i);
  }
}

void closures_end_run (lua_State *L) {
  closures_store_changed(L);
  cells_release(L);
}
