/*
** Ids, and the tables, functions and upvalues that have them. A table with an
** id is external: its entries live in the host.
*/
#include "values/values.h"

/*
** Ids that this run, or transaction, has given to Lua objects, as ranges in
** ascending order; and those of them that are being taken back.
*/
typedef struct Range {
  unsigned first, end;
} Range;

static Bytes made; /* of Range */
static Bytes undone; /* of unsigned */
static int undoing;

static int was_made (unsigned id) {
  const Range *r = (const Range *)made.p;
  size_t low = 0, high = made.len / sizeof(Range);
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (id < r[middle].first) high = middle;
    else if (id >= r[middle].end) low = middle + 1;
    else return 1;
  }
  return 0;
}

/* Those given so far stay: only later ones may be taken back. */
void made_clear (void) { bytes_shrink(&made); }

/* The run, or what the host does in it, takes these ids; 0: no memory. */
int made_add (unsigned first, unsigned count) {
  Range range = {first, first + count};
  size_t n = made.len / sizeof range;
  Range *last = n == 0 ? NULL : (Range *)made.p + n - 1;
  if (!guest.transactional || count == 0) return 1;
  if (last != NULL && last->end == first) {
    last->end = range.end;
    return 1;
  }
  return bytes_add(&made, &range, sizeof range);
}

static size_t count_made (void) {
  size_t i, n = 0;
  for (i = 0; i < made.len / sizeof(Range); i++) {
    Range range = ((const Range *)made.p)[i];
    n += range.end - range.first;
  }
  return n;
}

/*
** Calls 'f' for each id that this run took and that has an entry in this
** table. A host may take more ids than there are entries.
*/
void made_each (lua_State *L, Table *in, Visit f) {
  size_t i;
  if (count_made() > luaH_realasize(in) + sizenode(in)) {
    unsigned pos = 0;
    TValue key, val;
    while (table_step(in, &pos, &key, &val)) {
      unsigned id = (unsigned)ivalue(&key);
      if (was_made(id)) f(L, id, luaH_getint(in, id));
    }
    return;
  }
  for (i = 0; i < made.len / sizeof(Range); i++) {
    Range range = ((const Range *)made.p)[i];
    unsigned id;
    for (id = range.first; id < range.end; id++) {
      const TValue *o = luaH_getint(in, id);
      if (!isempty(o)) f(L, id, o);
    }
  }
}

static void undo_later (lua_State *L, unsigned id, const TValue *o) {
  (void)o;
  if (!bytes_add(&undone, &id, sizeof id)) luacell_memory_error(L);
}

/* Lists all of them, and what comes back to life under one. */
void made_begin_undo (lua_State *L) {
  undone.len = 0;
  made_each(L, guest.objects, undo_later);
  undoing = 1;
}

int made_any (void) {
  return made.len > 0;
}

/* The ids in that list; 0 behind its end. */
int made_to_undo (size_t i, unsigned *id) {
  if (i >= undone.len / sizeof *id) return 0;
  memcpy(id, undone.p + i * sizeof *id, sizeof *id);
  return 1;
}

void made_end_undo (void) {
  undoing = 0;
  bytes_shrink(&undone);
}

/* {== Objects by id */

const TValue *objects_find (unsigned id) {
  const TValue *v = luaH_getint(guest.objects, id);
  return isempty(v) ? NULL : v;
}

/* What comes back to life while a run is taken back is taken back too. */
void objects_put (lua_State *L, unsigned id, const TValue *v) {
  if (l_unlikely(undoing) && was_made(id) &&
      !bytes_add(&undone, &id, sizeof id))
    luacell_memory_error(L);
  table_put(L, guest.objects, id, v);
}

unsigned external_take_ids (lua_State *L, unsigned count) {
  unsigned first = guest.next_id;
  if (count >= UINT_MAX - first)
    luacell_error(L, KIND_INTERNAL, "no external table ids are left");
  if (!made_add(first, count)) luacell_memory_error(L);
  guest.next_id += count;
  return first;
}

static void push_table (lua_State *L) {
  Table *t = luaH_new(L);
  sethvalue2s(L, L->top.p, t);
  api_incr_top(L);
}

/* Pushes the table with this id: the same Lua table as long as one lives. */
void external_push (lua_State *L, unsigned id) {
  const TValue *known = objects_find(id), *kept;
  Table *t;
  if (known != NULL && ttistable(known)) {
    setobj2s(L, L->top.p, known);
    api_incr_top(L);
    return;
  }
  need_stack(L, 2);
  push_table(L);
  t = hvalue(s2v(L->top.p - 1));
  t->extid = id;
  invalidateTMcache(t); /* a new table claims none */
  objects_put(L, id, s2v(L->top.p - 1));
  kept = luaH_getint(guest.anchors, id);
  if (ttistable(kept) && hvalue(kept)->extid == 0) {
    t->metatable = hvalue(kept);
    luaC_objbarrier(L, t, t->metatable);
  }
}

void external_list_ids (lua_State *L, Bytes *to) {
  unsigned pos = 0;
  TValue key, val;
  while (table_step(guest.objects, &pos, &key, &val)) {
    byte b[4];
    put_u32(b, (uint32_t)ivalue(&key));
    if (!bytes_add(to, b, sizeof b)) luacell_memory_error(L);
  }
}

/* The host has no such table any more: nobody will come to it. */
void external_forget (unsigned id) {
  const TValue *kept = luaH_getint(guest.anchors, id);
  if (ttistable(kept) && objects_find(id) == NULL) setempty((TValue *)kept);
}

/* Ids from this one on mean other tables from now on. Allocates nothing. */
void external_forget_from (unsigned first) {
  unsigned pos = 0;
  TValue key, val;
  while (table_step(guest.anchors, &pos, &key, &val)) {
    unsigned id = (unsigned)ivalue(&key);
    if (id >= first && id != guest.home_id && id != guest.io_id)
      setempty((TValue *)luaH_getint(guest.anchors, id));
  }
}

/*
** A host that knows a table from its first entry on would not count the id of
** one that stays empty as taken.
*/
void external_announce (lua_State *L, unsigned id) {
  static const byte nil = TAG_NIL;
  if (guest.transactional) return; /* such a host looks at references */
  host_set(L, id, "1", 1, &nil, 1);
  host_delete(L, id, "1", 1);
}

/* In 'extmark' of an external table: no store and no host refers to it. */
#define PRIVATE 1u

/* ext.table() */
int luacell_ext_table (lua_State *L) {
  unsigned id = external_take_ids(L, 1);
  external_announce(L, id);
  external_push(L, id);
  hvalue(s2v(L->top.p - 1))->extmark = PRIVATE;
  return 1;
}

int luacell_is_external (lua_State *L) {
  return hvalue(s2v(L->top.p - 1))->extid != 0;
}

l_noret luacell_no_metatable (lua_State *L) {
  luacell_error(L, KIND_RUNTIME, "a stored table can't be a metatable; the '__index' of an "
                "ordinary one may be a stored table");
}

/*
** Metatables are not stored. If others could come to a table by its id, its
** metatable stays, and whoever comes gets it again.
*/
void external_keep_metatable (lua_State *L, Table *t, unsigned id) {
  TValue v;
  if (t->metatable == NULL) {
    setnilvalue(&v);
  }
  else
    sethvalue(L, &v, t->metatable);
  table_put(L, guest.anchors, id, &v);
}

/*
** The Lua table of a stored one may go while the stored one is there, and when
** that goes nobody is told: it has no finalizer.
*/
int luacell_has_finalizer (const GCObject *o) {
  if (o->tt != LUA_VTABLE) return 1;
  return gco2t(o)->extid == 0 || gco2t(o)->extmark == PRIVATE;
}

void luacell_metatable_set (lua_State *L, Table *t) {
  if (t->metatable == NULL || t->extmark != PRIVATE)
    external_keep_metatable(L, t, t->extid);
}

/* The id of a table is about to be written somewhere. */
unsigned external_shown_id (lua_State *L, Table *t) {
  if (l_unlikely(t->extmark == PRIVATE)) {
    t->extmark = 0;
    if (t->metatable != NULL) external_keep_metatable(L, t, t->extid);
  }
  return t->extid;
}

/* }== */
