/*
** Cells: upvalues that are kept in a store. While a run lasts they are ordinary
** upvalues; what a failed run did to them is taken back.
*/
#include "tables/tables.h"

typedef struct Cell {
  UpVal *uv; /* NULL: free slot */
  unsigned id;
  unsigned next_free;
} Cell;

static Bytes cells; /* of Cell; place 0 is never used */
static unsigned live_cells;
static unsigned purge_at = 256;

static Cell *cell_at (unsigned i) { return (Cell *)cells.p + i; }
static unsigned cell_count (void) {
  return (unsigned)(cells.len / sizeof(Cell));
}

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

void cells_begin_transaction (lua_State *L) {
  if (any_before) table_clear(L, guest.cells_before);
  any_before = 0;
}

/* A cell must outlive its function until its value was written back. */
void cells_begin_run (lua_State *L) {
  unsigned i;
  if (!guest.in_transaction) cells_begin_transaction(L);
  for (i = 1; i < cell_count(); i++) {
    UpVal *uv = cell_at(i)->uv;
    if (uv == NULL) continue;
    push_upvalue(L, uv);
    table_put(L, guest.cells_held, cell_at(i)->id, s2v(L->top.p - 1));
    L->top.p--;
  }
}

void cells_release (lua_State *L) {
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

/*
** The first cell at or behind place *i whose value is no longer what the store
** has; 0 when there is none. Storing a value may add cells.
*/
int cells_next_changed (unsigned *i, unsigned *id, const UpVal **uv) {
  for (; *i < cell_count(); ++*i) {
    const TValue *saved;
    *uv = cell_at(*i)->uv;
    if (*uv == NULL) continue;
    *id = cell_at(*i)->id;
    saved = luaH_getint(guest.cells_saved, *id);
    if (changed((*uv)->v.p, saved) &&
        !(isempty(saved) && ttisnil((*uv)->v.p)))
      return 1;
  }
  return 0;
}

/* The store has the present value of this cell now. */
void cells_note_saved (lua_State *L, unsigned i) {
  unsigned id = cell_at(i)->id;
  const TValue *saved = luaH_getint(guest.cells_saved, id);
  TValue before;
  if (isempty(saved)) {
    setpvalue(&before, NULL);
  }
  else
    setobj(L, &before, saved);
  any_before = 1;
  if (isempty(luaH_getint(guest.cells_before, id)))
    table_put(L, guest.cells_before, id, &before);
  table_put(L, guest.cells_saved, id, cell_at(i)->uv->v.p);
}

/* What 'cells_note_saved' noted does not count. */
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
  cells_release(L);
}
