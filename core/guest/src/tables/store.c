/*
** Values on their way into a store.
**
** A plain table that is stored becomes an external table itself, and so do
** the tables that it leads to, through functions and their upvalues too. That
** happens in three steps, so that a failure leaves all of them as they were:
** find everything (nothing changes), write it to the host, change the Lua
** side.
*/
#include "tables/tables.h"

typedef struct Item {
  GCObject *o; /* a plain table, a closure or an upvalue */
  int parent; /* the item that leads here, -1 for the value itself */
  TValue key; /* and under which key or upvalue number */
} Item;

static Bytes items = {.kind = PASSING}; /* of Item, in the order in which they were found */
static Bytes outgoing = {.kind = PASSING}; /* the value being written */
static unsigned first_id; /* id of items[0] */
static unsigned target_id;

static Item *item_at (size_t i) { return (Item *)items.p + i; }
static size_t item_count (void) { return items.len / sizeof(Item); }

/* The mark of an object is its place in the list, if it is there at all. */
static unsigned mark_of (GCObject *o) {
  switch (o->tt) {
    case LUA_VTABLE: return gco2t(o)->extmark & luacell_PLACE;
    case LUA_VLCL: return gco2lcl(o)->extmark;
    default: return gco2upv(o)->cell;
  }
}

static void set_mark (GCObject *o, unsigned mark) {
  switch (o->tt) {
    case LUA_VTABLE:
      gco2t(o)->extmark = (gco2t(o)->extmark & ~luacell_PLACE) | mark;
      break;
    case LUA_VLCL: gco2lcl(o)->extmark = mark; break;
    default: gco2upv(o)->cell = mark;
  }
}

static int is_listed (GCObject *o) {
  unsigned mark = mark_of(o);
  return mark < item_count() && item_at(mark)->o == o;
}

static void list (lua_State *L, GCObject *o, int parent, const TValue *key) {
  Item item;
  if (is_listed(o)) return;
  if (o->tt == LUA_VTABLE) gc_pin_weak(L, gco2t(o));
  memset(&item, 0, sizeof item);
  item.o = o;
  item.parent = parent;
  item.key = *key;
  set_mark(o, (unsigned)item_count());
  if (!bytes_add(&items, &item, sizeof item)) luacell_memory_error(L);
}

/* {== Messages */

#define PATH_STEPS 12

/* Where the entry 'key' of item 'item' is; of a long way only the end. */
static const char *path_of (lua_State *L, int item, const TValue *key) {
  int steps[PATH_STEPS];
  int n = 0, i;
  path_start(L, target_id == guest.home_id ? "_home"
                : target_id == guest.io_id ? "_io"
                                           : "(external table)");
  for (i = item; i >= 0 && n < PATH_STEPS; i = item_at((size_t)i)->parent)
    steps[n++] = i;
  if (i >= 0) path_cut(L);
  while (n > 0) {
    const Item *it = item_at((size_t)steps[--n]);
    GCObject *parent =
        it->parent >= 0 ? item_at((size_t)it->parent)->o : NULL;
    if (parent != NULL && parent->tt == LUA_VLCL) {
      const TString *name =
          gco2lcl(parent)->p->upvalues[ivalue(&it->key) - 1].name;
      path_upvalue(L, name != NULL ? getstr(name) : "?");
    }
    else
      path_key(L, &it->key);
  }
  if (key != NULL) path_key(L, key);
  return path_text(L);
}

static l_noret cannot_store (lua_State *L, const TValue *v, int item,
                             const TValue *key) {
  luacell_error(L, KIND_CONVERSION, "can't store a %s at %s",
                type_name(L, v), path_of(L, item, key));
}

static l_noret cannot_be_key (lua_State *L, const TValue *key, int item) {
  luacell_error(L, KIND_CONVERSION,
                "can't use a %s as a key of a stored table at %s",
                type_name(L, key), path_of(L, item, NULL));
}

/* Its entries would leave it, and metamethods with them. */
static l_noret cannot_be_external (lua_State *L, int item, const TValue *key) {
  luacell_error(L, KIND_CONVERSION,
                "can't store a table that serves as a metatable at %s",
                path_of(L, item, key));
}

/* }== */

/* Lists what a value leads to; refuses what can't be stored. */
static void find (lua_State *L, const TValue *v, int parent,
                  const TValue *key) {
  size_t n;
  switch (ttypetag(v)) {
    case LUA_VTABLE:
      if (hvalue(v)->extid == 0 && builtin_name(v, &n) == NULL) {
        if (hvalue(v)->flags & BITMETA) cannot_be_external(L, parent, key);
        list(L, gcvalue(v), parent, key);
      }
      break;
    case LUA_VLCL:
      if (!closure_is_plain(clLvalue(v)) && clLvalue(v)->extid == 0)
        list(L, gcvalue(v), parent, key);
      break;
    case LUA_VLCF:
    case LUA_VCCL:
      if (builtin_name(v, &n) == NULL) cannot_store(L, v, parent, key);
      break;
    case LUA_VUSERDATA:
      if (big_of(v) != NULL) break;
      cannot_store(L, v, parent, key);
    case LUA_VLIGHTUSERDATA:
      if (null_is(v)) break;
      cannot_store(L, v, parent, key);
    case LUA_VTHREAD:
      cannot_store(L, v, parent, key);
    default: break;
  }
}

static void find_below (lua_State *L, int i) {
  GCObject *o = item_at((size_t)i)->o;
  TValue key, val;
  if (o->tt == LUA_VTABLE) {
    unsigned pos = 0;
    while (table_step(gco2t(o), &pos, &key, &val)) {
      luacell_look(L);
      if (!key_is_storable(&key)) cannot_be_key(L, &key, i);
      find(L, &val, i, &key);
    }
  }
  else if (o->tt == LUA_VLCL) {
    LClosure *cl = gco2lcl(o);
    int k;
    for (k = 0; k < cl->nupvalues; k++) {
      UpVal *uv = cl->upvals[k];
      if (is_globals(uv->v.p) || cell_is_bound(uv)) continue;
      setivalue(&key, k + 1);
      list(L, obj2gco(uv), i, &key);
    }
  }
  else {
    setnilvalue(&key);
    find(L, gco2upv(o)->v.p, i, &key);
  }
}

/* {== Writing */

static void out_add (lua_State *L, const void *p, size_t n) {
  if (!bytes_add(&outgoing, p, n)) luacell_memory_error(L);
}

static void out_tagged (lua_State *L, int tag, uint32_t v) {
  byte b[5];
  b[0] = (byte)tag;
  put_u32(b + 1, v);
  out_add(L, b, sizeof b);
}

static unsigned id_of (GCObject *o, unsigned bound) {
  return bound != 0 ? bound : first_id + mark_of(o);
}

/* Makes 'outgoing' the stored form of a value; everything is listed. */
static void write_out (lua_State *L, const TValue *value) {
  TValue copy = *value; /* an open upvalue stands on the stack, which moves */
  const TValue *v = &copy;
  byte b[9];
  size_t n;
  const char *name;
  outgoing.len = 0;
  switch (ttypetag(v)) {
    case LUA_VNIL: b[0] = TAG_NIL; out_add(L, b, 1); break;
    case LUA_VLIGHTUSERDATA: b[0] = TAG_NULL; out_add(L, b, 1); break;
    case LUA_VFALSE:
    case LUA_VTRUE:
      b[0] = TAG_BOOLEAN;
      b[1] = !l_isfalse(v);
      out_add(L, b, 2);
      break;
    case LUA_VNUMINT:
      b[0] = TAG_INTEGER;
      memcpy(b + 1, &v->value_.i, 8);
      out_add(L, b, 9);
      break;
    case LUA_VNUMFLT: {
      lua_Number n = luacell_same_nan(fltvalue(v));
      b[0] = TAG_FLOAT;
      memcpy(b + 1, &n, 8);
      out_add(L, b, 9);
      break;
    }
    case LUA_VSHRSTR:
    case LUA_VLNGSTR:
      out_tagged(L, TAG_STRING, (uint32_t)vslen(v));
      out_add(L, svalue(v), vslen(v));
      break;
    case LUA_VLCL:
      if (!closure_is_plain(clLvalue(v))) {
        out_tagged(L, TAG_STORED_FUNCTION,
                   id_of(gcvalue(v), clLvalue(v)->extid));
        break;
      }
      out_tagged(L, TAG_FUNCTION, 0);
      closure_dump(L, v, &outgoing);
      put_u32(outgoing.p + 1, (uint32_t)outgoing.len - 5);
      bytecode_known(L, outgoing.p + 5, outgoing.len - 5, v);
      break;
    case LUA_VUSERDATA: /* what else could it be: see 'find' */
      big_push_decimal(L, v);
      out_tagged(L, TAG_BIGINT, (uint32_t)vslen(s2v(L->top.p - 1)));
      out_add(L, svalue(s2v(L->top.p - 1)), vslen(s2v(L->top.p - 1)));
      lua_pop(L, 1);
      break;
    default:
      name = builtin_name(v, &n);
      if (name != NULL) {
        out_tagged(L, TAG_BUILTIN, (uint32_t)n);
        out_add(L, name, n);
      }
      else if (hvalue(v)->extid != 0)
        out_tagged(L, TAG_EXTERNAL, external_shown_id(L, hvalue(v)));
      else
        out_tagged(L, TAG_EXTERNAL, id_of(gcvalue(v), 0));
  }
}

static void write_table (lua_State *L, Table *t, unsigned id) {
  unsigned pos = 0;
  int empty = 1;
  TValue key, val;
  while (table_step(t, &pos, &key, &val)) {
    size_t klen;
    const char *k;
    empty = 0;
    write_out(L, &val);
    k = key_to_text(L, &key, &klen);
    host_set(L, id, k, klen, outgoing.p, outgoing.len);
  }
  if (empty) external_announce(L, id);
}

static void write_closure (lua_State *L, LClosure *cl, unsigned id) {
  TValue f;
  int i;
  setclLvalue(L, &f, cl);
  outgoing.len = 0;
  out_tagged(L, TAG_STRING, 0);
  closure_dump(L, &f, &outgoing);
  put_u32(outgoing.p + 1, (uint32_t)outgoing.len - 5);
  host_set(L, id, "code", 4, outgoing.p, outgoing.len);
  for (i = 0; i < cl->nupvalues; i++) {
    UpVal *uv = cl->upvals[i];
    TValue number;
    size_t klen;
    const char *k;
    if (is_globals(uv->v.p))
      write_out(L, uv->v.p);
    else {
      outgoing.len = 0;
      out_tagged(L, TAG_STORED_UPVALUE,
                 cell_is_bound(uv) ? cell_id(uv)
                                   : first_id + mark_of(obj2gco(uv)));
    }
    setivalue(&number, i + 1);
    k = key_to_text(L, &number, &klen);
    host_set(L, id, k, klen, outgoing.p, outgoing.len);
  }
}

static void write_item (lua_State *L, size_t i) {
  GCObject *o = item_at(i)->o;
  unsigned id = first_id + (unsigned)i;
  switch (o->tt) {
    case LUA_VTABLE: write_table(L, gco2t(o), id); break;
    case LUA_VLCL: write_closure(L, gco2lcl(o), id); break;
    default:
      write_out(L, gco2upv(o)->v.p);
      host_set(L, id, "value", 5, outgoing.p, outgoing.len);
  }
}

/* }== */

/* Makes room for everything that 'bind' needs, so that it can't fail. */
static void register_item (lua_State *L, size_t i) {
  GCObject *o = item_at(i)->o;
  unsigned id = first_id + (unsigned)i;
  TValue v;
  if (o->tt == LUA_VUPVAL) {
    UpVal *uv = gco2upv(o);
    uv->cell = 0;
    cell_bind(L, uv, id);
  }
  else {
    v.value_.gc = o;
    v.tt_ = ctb(o->tt);
    objects_put(L, id, &v);
    if (o->tt == LUA_VTABLE && gco2t(o)->metatable != NULL)
      external_keep_metatable(L, gco2t(o), id);
  }
}

static void bind_item (lua_State *L, size_t i) {
  GCObject *o = item_at(i)->o;
  unsigned id = first_id + (unsigned)i;
  if (o->tt == LUA_VTABLE) {
    table_clear(L, gco2t(o));
    gco2t(o)->extid = id;
    gco2t(o)->extmark &= ~luacell_PLACE; /* its shape, for when it is taken back */
  }
  else if (o->tt == LUA_VLCL)
    gco2lcl(o)->extid = id;
}

/* Stores all that a value leads to; the value itself is then a reference. */
static void convert (lua_State *L, const TValue *v, const TValue *key) {
  size_t i, n;
  items.len = 0;
  find(L, v, -1, key);
  for (i = 0; i < item_count(); i++) {
    find_below(L, (int)i);
    luacell_look(L);
  }
  n = item_count();
  if (n == 0) return;
  first_id = external_take_ids(L, (unsigned)n);
  for (i = 0; i < n; i++) write_item(L, i);
  /* 'uv->cell' changes meaning when an upvalue is bound: upvalues last */
  for (i = 0; i < n; i++)
    if (item_at(i)->o->tt != LUA_VUPVAL) register_item(L, i);
  for (i = 0; i < n; i++)
    if (item_at(i)->o->tt == LUA_VUPVAL) register_item(L, i);
  for (i = 0; i < n; i++) bind_item(L, i);
}

static int is_scalar (const TValue *v) {
  return ttisnil(v) || ttisboolean(v) || ttisnumber(v) || ttisstring(v);
}

/* Table 'id', key text 'key', gets the value; nil is the caller's. */
void store_value (lua_State *L, unsigned id, const char *key, size_t klen,
                  const TValue *val, const TValue *shown_key) {
  if (!is_scalar(val)) {
    TValue copy = *val, shown = *shown_key;
    target_id = id;
    need_stack(L, 20);
    setobj2s(L, L->top.p, &copy); /* stays alive while it is converted */
    api_incr_top(L);
    gc_hold(L);
    convert(L, &copy, &shown);
    write_out(L, &copy);
    gc_release(L);
    items.len = 0;
    L->top.p--;
    key = key_to_text(L, &shown, &klen); /* 'convert' used the text buffer */
  }
  else
    write_out(L, val);
  host_set(L, id, key, klen, outgoing.p, outgoing.len);
  bytes_shrink(&outgoing);
  bytes_shrink(&items);
}

/* A plain table becomes an external one without being stored anywhere. */
void store_convert (lua_State *L, const TValue *v) {
  TValue copy = *v, key;
  setivalue(&key, 1);
  target_id = 0;
  need_stack(L, 20);
  gc_hold(L);
  convert(L, &copy, &key);
  gc_release(L);
}

