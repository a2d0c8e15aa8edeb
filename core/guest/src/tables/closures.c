/*
** Lua functions in a store.
**
** A function with upvalues of its own is described by an external table, and
** each of its upvalues by a cell table, so that functions which share an
** upvalue share the cell. While a run lasts, cells are ordinary upvalues;
** when it ends well, those whose value changed are written back.
*/
#include "luacell.h"

static Bytes cells; /* of Cell; place 0 is never used */
static Bytes pending = {.kind = PASSING}; /* of unsigned: ids of cells whose value must be read */
static unsigned live_cells;
static unsigned purge_at = 256;

static Cell *cell_at (unsigned i) { return (Cell *)cells.p + i; }
static unsigned cell_count (void) {
  return (unsigned)(cells.len / sizeof(Cell));
}

/* Nothing of its own but code: at most the globals as its one upvalue. */
int closure_is_plain (const LClosure *cl) {
  return cl->nupvalues == 0 ||
         (cl->nupvalues == 1 && is_globals(cl->upvals[0]->v.p));
}

static int write_code (lua_State *L, const void *p, size_t n, void *to) {
  (void)L;
  return !bytes_add(to, p, n);
}

/* Appends the bytecode, line information included. */
void closure_dump (lua_State *L, const TValue *f, Bytes *to) {
  TValue function = *f; /* it may stand on the stack, which moves */
  int failed;
  need_stack(L, 2);
  setobj2s(L, L->top.p, &function);
  api_incr_top(L);
  failed = lua_dump(L, write_code, to, 0);
  lua_pop(L, 1);
  if (failed) luacell_memory_error(L);
}

/* {== Bytecode: equal code of functions without upvalues is one function */

void bytecode_known (lua_State *L, const byte *code, size_t len,
                     const TValue *f) {
  TValue copy = *f;
  push_string(L, (const char *)code, len);
  luaH_set(L, guest.bytecode, s2v(L->top.p - 1), &copy);
  luaC_barrierback(L, obj2gco(guest.bytecode), s2v(L->top.p - 1));
  luaC_barrierback(L, obj2gco(guest.bytecode), &copy);
  lua_pop(L, 1);
}

void bytecode_load (lua_State *L, const char *code, size_t len) {
  const TValue *known;
  int base = lua_gettop(L);
  gc_hold(L);
  push_string(L, code, len);
  known = luaH_get(guest.bytecode, s2v(L->top.p - 1));
  if (!isempty(known)) {
    setobj2s(L, L->top.p, known);
    api_incr_top(L);
  }
  else {
    size_t n;
    const char *s = lua_tolstring(L, -1, &n);
    if (luaL_loadbufferx(L, s, n, "=(stored function)", "b") != LUA_OK)
      luacell_error(L, KIND_CONVERSION, "malformed stored function: %s",
                    lua_tostring(L, -1));
    bytecode_known(L, (const byte *)s, n, s2v(L->top.p - 1));
  }
  lua_replace(L, base + 1);
  lua_settop(L, base + 1);
  gc_release(L);
}

/* }== */

/* {== Cells */

int cell_is_bound (const UpVal *uv) {
  return uv->cell != 0 && uv->cell < cell_count() &&
         cell_at(uv->cell)->uv == uv;
}

unsigned cell_id (const UpVal *uv) { return cell_at(uv->cell)->id; }

static void push_upvalue (lua_State *L, UpVal *uv) {
  TValue v;
  v.value_.gc = obj2gco(uv);
  v.tt_ = ctb(LUA_VUPVAL);
  setobj2s(L, L->top.p, &v);
  api_incr_top(L);
}

/* From here on the upvalue is the cell 'id', with its present value. */
void cell_bind (lua_State *L, UpVal *uv, unsigned id) {
  unsigned i;
  TValue v;
  if (cells.len == 0) { /* place 0 */
    Cell none = {NULL, 0, 0};
    if (!bytes_add(&cells, &none, sizeof none)) luacell_memory_error(L);
  }
  i = cell_at(0)->next_free;
  if (i == 0) {
    Cell fresh = {NULL, 0, 0};
    if (!bytes_add(&cells, &fresh, sizeof fresh)) luacell_memory_error(L);
    i = cell_count() - 1;
    cell_at(0)->next_free = i;
  }
  need_stack(L, 4);
  push_upvalue(L, uv);
  v = *s2v(L->top.p - 1);
  objects_put(L, id, &v);
  table_put(L, guest.cells_held, id, &v);
  table_put(L, guest.cells_saved, id, uv->v.p);
  L->top.p--;
  cell_at(0)->next_free = cell_at(i)->next_free;
  cell_at(i)->uv = uv;
  cell_at(i)->id = id;
  uv->cell = i;
  live_cells++;
}

static void unbind (Cell *c) {
  unsigned i = (unsigned)(c - cell_at(0));
  const TValue *saved = luaH_getint(guest.cells_saved, c->id);
  if (!isabstkey(saved)) setempty((TValue *)saved);
  c->uv = NULL;
  c->next_free = cell_at(0)->next_free;
  cell_at(0)->next_free = i;
  live_cells--;
}

void cell_unbind (UpVal *uv) {
  if (cell_is_bound(uv)) unbind(cell_at(uv->cell));
  uv->cell = 0;
}

/* Called while the collector sweeps: nothing may be allocated. */
void luacell_cell_freed (UpVal *uv) {
  if (cell_is_bound(uv)) unbind(cell_at(uv->cell));
}

static int any_before; /* whether 'cells_before' holds anything */

void closures_begin_transaction (lua_State *L) {
  if (any_before) table_clear(L, guest.cells_before);
  any_before = 0;
}

/* A cell must outlive its function until its value was written back. */
void closures_begin_run (lua_State *L) {
  unsigned i;
  pending.len = 0;
  if (!guest.in_transaction) closures_begin_transaction(L);
  for (i = 1; i < cell_count(); i++) {
    UpVal *uv = cell_at(i)->uv;
    if (uv == NULL) continue;
    push_upvalue(L, uv);
    table_put(L, guest.cells_held, cell_at(i)->id, s2v(L->top.p - 1));
    L->top.p--;
  }
}

static void release (lua_State *L) {
  if (live_cells == 0) return;
  table_clear(L, guest.cells_held);
  if (live_cells > purge_at) {
    luaC_fullgc(L, 0);
    purge_at = live_cells * 2 > 256 ? live_cells * 2 : 256;
  }
}

static int changed (const TValue *a, const TValue *b) {
  return rawtt(a) != rawtt(b) || !luaV_rawequalobj(a, b);
}

void cells_end_run (lua_State *L) {
  unsigned i;
  for (i = 1; i < cell_count(); i++) { /* storing may add cells */
    UpVal *uv = cell_at(i)->uv;
    unsigned id = cell_at(i)->id;
    const TValue *saved;
    TValue key;
    if (uv == NULL) continue;
    saved = luaH_getint(guest.cells_saved, id);
    if (!changed(uv->v.p, saved) || (isempty(saved) && ttisnil(uv->v.p)))
      continue;
    lua_pushliteral(L, "value");
    key = *s2v(L->top.p - 1);
    store_value(L, id, "value", 5, uv->v.p, &key);
    lua_pop(L, 1);
    saved = luaH_getint(guest.cells_saved, id); /* storing may move it */
    if (isempty(saved)) {
      setpvalue(&key, NULL);
    }
    else
      setobj(L, &key, saved);
    any_before = 1;
    if (isempty(luaH_getint(guest.cells_before, id)))
      table_put(L, guest.cells_before, id, &key);
    table_put(L, guest.cells_saved, id, uv->v.p);
  }
  release(L);
}

/* What 'cells_end_run' wrote does not count. */
void cells_unsave (lua_State *L) {
  unsigned i;
  if (!any_before) return;
  for (i = 1; i < cell_count(); i++) {
    unsigned id = cell_at(i)->id;
    const TValue *known;
    TValue before;
    if (cell_at(i)->uv == NULL) continue;
    known = luaH_getint(guest.cells_before, id);
    if (isempty(known)) continue;
    setobj(L, &before, known); /* what it is put into may move it */
    if (ttislightuserdata(&before)) setnilvalue(&before);
    table_put(L, guest.cells_saved, id, &before);
  }
}

/* After a failed run: back to what the store has. */
void cells_restore (lua_State *L) {
  unsigned i;
  for (i = 1; i < cell_count(); i++) {
    UpVal *uv = cell_at(i)->uv;
    const TValue *saved;
    if (uv == NULL) continue;
    saved = luaH_getint(guest.cells_saved, cell_at(i)->id);
    if (isempty(saved)) setnilvalue(uv->v.p);
    else setobj(L, uv->v.p, saved);
    luaC_barrier(L, uv, uv->v.p);
  }
  release(L);
}

/* }== */

/* {== Loading, with a list instead of recursion */

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
  if (n != 5 || p[0] != TAG_CELL) {
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
  else if (n == 5 && p[0] == TAG_CLOSURE)
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
