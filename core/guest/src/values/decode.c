/*
** Values that come from the host or a store. They may be malformed: every
** length is checked against what is there.
*/
#include "values/values.h"

/* A table that is being filled; it sits in 'seen' and so stays alive. */
typedef struct Filling {
  Table *t;
  uint32_t i, n; /* array values done, in all */
  uint32_t pairs; /* pairs left */
  int has_key; /* the key is in 'key', its value comes next */
  int has_gaps; /* there are nils among the array values */
  TValue key;
} Filling;

static Bytes filling = {.kind = PASSING}; /* of Filling; a stack, so calls may nest */

typedef struct Input {
  const byte *start, *p, *end;
  int stored; /* from a store, which could name any function of the host */
  int seen; /* stack index of the list of inline tables, nil until needed */
  int values; /* whole values so far */
  size_t base; /* where in 'filling' the tables of this message begin */
  uint32_t tables; /* inline tables so far */
} Input;

static l_noret malformed (lua_State *L, const Input *in) {
  luacell_error(L, KIND_CONVERSION, "malformed value from the host (byte %d)",
                (int)(in->p - in->start));
}

static const byte *take (lua_State *L, Input *in, size_t n) {
  const byte *p = in->p;
  if ((size_t)(in->end - p) < n) malformed(L, in);
  in->p += n;
  return p;
}

static uint32_t take_u32 (lua_State *L, Input *in) {
  return get_u32(take(L, in, 4));
}

static const char *take_bytes (lua_State *L, Input *in, size_t *n) {
  *n = take_u32(L, in);
  return (const char *)take(L, in, *n);
}

static void start_table (lua_State *L, Input *in, unsigned shape) {
  Filling f;
  size_t left;
  memset(&f, 0, sizeof f);
  f.n = take_u32(L, in);
  f.pairs = take_u32(L, in);
  left = (size_t)(in->end - in->p); /* a value takes at least one byte */
  if (f.n > left || f.pairs > (left - f.n) / 2) malformed(L, in);
  if (in->tables == 0) {
    lua_newtable(L);
    lua_replace(L, in->seen);
  }
  lua_createtable(L, (int)f.n, (int)f.pairs);
  f.t = hvalue(s2v(L->top.p - 1));
  table_set_shape(f.t, shape);
  lua_pushvalue(L, -1);
  lua_rawseti(L, in->seen, ++in->tables);
  if (f.n + f.pairs > 0 && !bytes_add(&filling, &f, sizeof f))
    luacell_memory_error(L);
}

/* Pushes the next value when it is one that refers to nothing. */
static inline int push_plain (lua_State *L, Input *in) {
  switch (*in->p) {
    case TAG_NIL:
      in->p++;
      lua_pushnil(L);
      return 1;
    case TAG_NULL:
      in->p++;
      null_push(L);
      return 1;
    case TAG_BOOLEAN:
      in->p++;
      lua_pushboolean(L, *take(L, in, 1));
      return 1;
    case TAG_INTEGER: {
      lua_Integer i;
      in->p++;
      memcpy(&i, take(L, in, 8), 8);
      lua_pushinteger(L, i);
      return 1;
    }
    case TAG_FLOAT: {
      lua_Number x;
      in->p++;
      memcpy(&x, take(L, in, 8), 8);
      lua_pushnumber(L, x);
      return 1;
    }
    case TAG_STRING: {
      size_t n;
      const char *s;
      in->p++;
      s = take_bytes(L, in, &n);
      lua_pushlstring(L, s, n);
      return 1;
    }
    default: return 0;
  }
}

/* Pushes the next value; an inline table comes empty and is filled later. */
static void push_next (lua_State *L, Input *in) {
  size_t n;
  const char *s;
  if (in->p == in->end) malformed(L, in);
  if (push_plain(L, in)) return;
  switch (*in->p++) {
    case TAG_FUNCTION:
      s = take_bytes(L, in, &n);
      bytecode_load(L, s, n);
      break;
    case TAG_BUILTIN:
      s = take_bytes(L, in, &n);
      if (!builtin_push(L, s, n)) {
        lua_pushlstring(L, s, n);
        luacell_error(L, KIND_CONVERSION,
                      "there is no built-in '%s' in this sandbox",
                      lua_tostring(L, -1));
      }
      break;
    case TAG_EXTERNAL: {
      uint32_t id = take_u32(L, in);
      if (id == 0) malformed(L, in);
      external_push(L, id);
      break;
    }
    case TAG_TABLE: start_table(L, in, 0); break;
    case TAG_LIST: start_table(L, in, luacell_SHAPE_LIST); break;
    case TAG_MAP: start_table(L, in, luacell_SHAPE_MAP); break;
    case TAG_BACKREF: {
      uint32_t i = take_u32(L, in);
      if (i >= in->tables) malformed(L, in);
      lua_rawgeti(L, in->seen, (lua_Integer)i + 1);
      break;
    }
    case TAG_HANDLE: {
      const TValue *f = luaH_getint(guest.handles, take_u32(L, in));
      if (isempty(f)) malformed(L, in);
      setobj2s(L, L->top.p, f);
      api_incr_top(L);
      break;
    }
    case TAG_STORED_FUNCTION: {
      uint32_t id = take_u32(L, in);
      if (id == 0) malformed(L, in);
      guest.above.load_closure(L, id);
      break;
    }
    case TAG_HOST_FUNCTION:
      if (in->stored) malformed(L, in);
      host_value_push(L, take_u32(L, in));
      break;
    case TAG_HOST_OBJECT: {
      uint32_t number = take_u32(L, in), class = take_u32(L, in);
      if (in->stored) malformed(L, in);
      host_object_push(L, number, class);
      break;
    }
    case TAG_BIGINT:
      s = take_bytes(L, in, &n);
      if (!big_push_stored(L, s, n)) malformed(L, in);
      break;
    default:
      in->p--;
      malformed(L, in);
  }
}

#define SHOWN_STEPS	12  /* of a longer path the middle is left out */

/* Two keys of the host are one in Lua: text and the same bytes, for one. */
static l_noret same_key (lua_State *L, const Input *in, TValue key) {
  size_t i, n = (filling.len - in->base) / sizeof(Filling);
  lua_pushfstring(L, "value %d", in->values + 1);
  path_start(L, lua_tostring(L, -1));
  for (i = 0; i + 1 < n; i++) {
    const Filling *f = (const Filling *)(filling.p + in->base) + i;
    TValue at = f->key;
    if (ttisnil(&at)) setivalue(&at, f->i);
    if (i < SHOWN_STEPS / 2 || i + SHOWN_STEPS / 2 >= n) path_key(L, &at);
    else if (i == SHOWN_STEPS / 2) path_cut(L);
  }
  path_key(L, &key);
  luacell_error(L, KIND_CONVERSION,
                "two entries from the host have the same key (%s)",
                path_text(L));
}

/* Sets what was not set before; the caller has the barriers. */
static void set_new (lua_State *L, const Input *in, Table *t,
                     const TValue *key, TValue *val) {
  const TValue *slot = luaH_get(t, key);
  if (!isempty(slot)) same_key(L, in, *key);
  luaH_finishset(L, t, key, slot, val);
}

/* Pops the key of a pair, whose value comes later. */
static void keep_key (lua_State *L, const Input *in, Filling *f) {
  const TValue *key = s2v(L->top.p - 1);
  TValue placeholder;
  f->key = *key;
  f->has_key = 1;
  /* the entry keeps the key alive until its value is there */
  setbtvalue(&placeholder);
  set_new(L, in, f->t, key, &placeholder);
  luaC_barrierback(L, obj2gco(f->t), key);
  invalidateTMcache(f->t);
  lua_pop(L, 1);
}

static void check_key (lua_State *L, const Input *in) {
  const TValue *key = s2v(L->top.p - 1);
  if (ttisnil(key) || (ttisfloat(key) && luai_numisnan(fltvalue(key))))
    malformed(L, in);
}

/* At this place; it moves when a finalizer has values decoded. */
static inline Filling *filling_at (size_t index) {
  return (Filling *)(filling.p + index);
}

/* Fills a table up to a value that refers to something. */
static void fill_plain (lua_State *L, Input *in, size_t index) {
  uint32_t i = filling_at(index)->i, n = filling_at(index)->n;
  uint32_t pairs = filling_at(index)->pairs;
  Table *t = filling_at(index)->t;
  if (filling_at(index)->has_key) return;
  for (; i < n; i++) {
    luacell_look(L);
    if (in->p == in->end || !push_plain(L, in)) break;
    if (ttisnil(s2v(L->top.p - 1))) filling_at(index)->has_gaps = 1;
    table_put(L, t, (lua_Integer)i + 1, s2v(L->top.p - 1));
    lua_pop(L, 1);
  }
  filling_at(index)->i = i;
  if (i < n) return;
  for (; pairs > 0; pairs--) {
    TValue val;
    luacell_look(L);
    if (in->p == in->end || !push_plain(L, in)) break;
    check_key(L, in);
    if (in->p == in->end || !push_plain(L, in)) {
      keep_key(L, in, filling_at(index));
      break;
    }
    val = *s2v(L->top.p - 1);
    set_new(L, in, t, s2v(L->top.p - 2), &val);
    luaC_barrierback(L, obj2gco(t), s2v(L->top.p - 2));
    luaC_barrierback(L, obj2gco(t), &val);
    invalidateTMcache(t);
    lua_pop(L, 2);
  }
  filling_at(index)->pairs = pairs;
}

/* Puts the next value where the innermost table wants it. */
static void fill (lua_State *L, Input *in) {
  size_t index = filling.len - sizeof(Filling);
  Filling *f;
  push_next(L, in); /* may move 'filling' and add to it */
  f = filling_at(index);
  if (f->i < f->n) {
    table_put(L, f->t, ++f->i, s2v(L->top.p - 1));
    lua_pop(L, 1);
  }
  else if (!f->has_key) {
    check_key(L, in);
    keep_key(L, in, f);
  }
  else {
    TValue val = *s2v(L->top.p - 1);
    luaH_set(L, f->t, &f->key, &val);
    luaC_barrierback(L, obj2gco(f->t), &val);
    f->has_key = 0;
    f->pairs--;
    lua_pop(L, 1);
  }
}

/* Of a list with nils in it the field 'n' says how long it is. */
static void keep_length (lua_State *L, Table *t, uint32_t n) {
  need_stack(L, 2);
  sethvalue2s(L, L->top.p, t);
  api_incr_top(L);
  lua_pushinteger(L, n);
  lua_setfield(L, -2, "n");
  lua_pop(L, 1);
}

/* Fills and closes tables up to one that needs 'fill'; 0 when none is left. */
static int close_filled (lua_State *L, Input *in, size_t base) {
  while (filling.len > base) {
    size_t index = filling.len - sizeof(Filling);
    const Filling *f;
    fill_plain(L, in, index);
    f = filling_at(index);
    if (f->i < f->n || f->pairs > 0) return 1;
    filling.len -= sizeof *f;
    if (f->has_gaps && table_is_list(f->t)) keep_length(L, f->t, f->n);
  }
  return 0;
}

/* Pushes all values; returns how many. */
static int decode (lua_State *L, const byte *p, size_t len, int stored) {
  Input in = {.start = p, .p = p, .end = p + len, .stored = stored};
  int n = 0;
  /* most messages are nothing else */
  for (; in.p < in.end; n++) {
    luacell_look(L); /* strings may collide */
    need_stack(L, 1);
    if (!push_plain(L, &in)) break;
  }
  if (in.p == in.end) return n;
  in.base = filling.len;
  need_stack(L, 10);
  lua_pushnil(L);
  in.seen = lua_gettop(L);
  while (in.p < in.end) {
    need_stack(L, 10);
    in.values = n++;
    push_next(L, &in);
    while (close_filled(L, &in, in.base)) fill(L, &in);
  }
  lua_remove(L, in.seen);
  return n;
}

/* The same for a message of the host. */
int decode_values (lua_State *L, const byte *p, size_t len) {
  return decode(L, p, len, 0);
}

/* Size of a value that is read without calling the host; 0 for others. */
static size_t flat_size (const byte *p, size_t len) {
  switch (p[0]) {
    case TAG_NIL:
    case TAG_NULL: return 1;
    case TAG_BOOLEAN: return 2;
    case TAG_INTEGER:
    case TAG_FLOAT: return 9;
    case TAG_EXTERNAL: return 5;
    case TAG_STRING:
    case TAG_FUNCTION:
    case TAG_BUILTIN:
      return len >= 5 && get_u32(p + 1) == len - 5 ? len : len + 1;
    default: return 0;
  }
}

static l_noret malformed_in_store (lua_State *L) {
  luacell_error(L, KIND_CONVERSION, "malformed value in the store");
}

/* Pushes a stored value. Reading it may call the host, which reuses 'p'. */
void load_value (lua_State *L, const byte *p, size_t len) {
  size_t flat = len == 0 ? 1 : flat_size(p, len);
  if (flat > 0) {
    if (flat != len || decode(L, p, len, 1) != 1) malformed_in_store(L);
    return;
  }
  push_string(L, (const char *)p, len);
  if (decode(L, (const byte *)svalue(s2v(L->top.p - 1)), len, 1) != 1)
    malformed_in_store(L);
  lua_remove(L, -2);
}
