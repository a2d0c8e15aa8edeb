/*
** External tables on the Lua side: tables whose entries live in the host.
*/
#include "luacell.h"

lua_State *luacell_running;

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

/* {== Access */

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

/* }== */

/* {== Taking a failed run back */

void external_begin_transaction (void) { bytes_shrink(&made); }

void external_begin_run (void) {
  if (!guest.in_transaction) external_begin_transaction();
  walk_begin_run();
}

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

/* The external table at the top of the stack becomes a plain one again. */
static void make_plain (lua_State *L) {
  Table *t = hvalue(s2v(L->top.p - 1));
  unsigned id = t->extid;
  t->extid = 0;
  walk_into(L, id, lua_gettop(L));
}

typedef void (*Visit) (lua_State *L, unsigned id, const TValue *o);

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
static void each_made (lua_State *L, Table *in, Visit f) {
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

static int is_external (const TValue *o, unsigned id) {
  return o != NULL && ttistable(o) && hvalue(o)->extid == id;
}

/*
** The host is about to forget what this run stored: what became external in
** it goes back to being plain, with the content that it has now. Making one
** table plain may bring others back to life: they join the list.
*/
void made_undo (lua_State *L) {
  size_t i;
  if (made.len > 0) budget_tell_undo();
  need_stack(L, 40);
  gc_hold(L);
  undone.len = 0;
  each_made(L, guest.objects, undo_later);
  undoing = 1;
  for (i = 0; i < undone.len / sizeof(unsigned); i++) {
    unsigned id;
    const TValue *o;
    memcpy(&id, undone.p + i * sizeof id, sizeof id);
    o = objects_find(id);
    if (!is_external(o, id)) continue;
    setobj2s(L, L->top.p, o);
    api_incr_top(L);
    make_plain(L);
    lua_pop(L, 1);
  }
  gc_release(L);
}

static void detach (lua_State *L, unsigned id, const TValue *o) {
  (void)L;
  if (is_external(o, id)) hvalue(o)->extid = 0;
  else if (ttypetag(o) == LUA_VLCL) clLvalue(o)->extid = 0;
  else if (ttypetag(o) == LUA_VUPVAL) cell_unbind(gco2upv(gcvalue(o)));
  setempty((TValue *)o);
}

static void forget_metatable (lua_State *L, unsigned id, const TValue *o) {
  (void)L;
  (void)id;
  setempty((TValue *)o);
}

/*
** The end of taking back: no object keeps an id that the host will give to
** something else. A table whose content found no memory is empty. Allocates
** nothing, so it can't fail.
*/
void made_forget (lua_State *L) {
  undoing = 0;
  bytes_shrink(&undone);
  each_made(L, guest.objects, detach);
  each_made(L, guest.anchors, forget_metatable);
  made.len = 0;
}

/*
** The tables of the host are not those that Lua knows: '_home' and '_io' are
** others, and functions that were stored become Lua's own. Returns how many
** more tables Lua holds, whose ids would mean others.
*/
int external_leave (lua_State *L) {
  unsigned pos = 0;
  TValue key, val;
  int n = 0;
  luaC_fullgc(L, 0);
  while (table_step(guest.objects, &pos, &key, &val)) {
    unsigned id = (unsigned)ivalue(&key);
    if (!ttistable(&val)) detach(L, id, objects_find(id));
    else if (id != guest.home_id && id != guest.io_id) n++;
  }
  external_forget_from(1);
  made.len = 0;
  return n;
}

/* }== */
