/*
** Lua values as bytes for the host. Tables are walked with a list of open
** tables instead of recursion, so that no depth can exhaust the C stack.
*/
#include "values/values.h"

/* A table whose content is being written. */
typedef struct Open {
  Table *t;
  unsigned i, n; /* array values written, to be written */
  unsigned pos; /* place among all entries */
  unsigned pairs; /* written */
  size_t count_at; /* where their number goes in the end */
  int has_length; /* the field 'n' is the length, and no entry */
  int has_value; /* the key was written, 'val' not yet */
  TValue key, val; /* the current pair; 'key' also for error messages */
} Open;

/* Kept between calls so that an error on the way leaks nothing. */
static Bytes opened = {.kind = PASSING}; /* of Open */
static Bytes seen = {.kind = PASSING}; /* of Table*: every inline table of this message */

static Bytes *out;
static size_t written; /* may pass the capacity, see 'put' */
static const char *what_is_written; /* "result" or "argument" */
static int number_of_it;

/*
** A revision 1 host has one buffer of fixed size. What does not fit there is
** only counted, so that the error can name the whole size.
*/
static inline void put (lua_State *L, const void *data, size_t n) {
  if (n > out->cap || written > out->cap - n) {
    if (guest.revision < 2) {
      written += n;
      return;
    }
    out->len = written;
    if (!bytes_grow(out, n)) luacell_memory_error(L);
  }
  memcpy(out->p + written, data, n);
  written += n;
}

static void put_tagged_u32 (lua_State *L, int tag, uint32_t v) {
  byte b[5];
  b[0] = (byte)tag;
  put_u32(b + 1, v);
  put(L, b, sizeof b);
}

static void put_string (lua_State *L, int tag, const void *s, size_t n) {
  put_tagged_u32(L, tag, (uint32_t)n);
  put(L, s, n);
}

static Open *top (void) {
  return opened.len == 0 ? NULL
                         : (Open *)(opened.p + opened.len) - 1;
}

/* "result 1.list[3]". */
static const char *path_of (lua_State *L) {
  path_start(L, lua_pushfstring(L, "%s %d", what_is_written, number_of_it));
  path_through(L, &opened, sizeof(Open), offsetof(Open, key));
  return path_text(L);
}

static l_noret cannot_return (lua_State *L, const TValue *v) {
  const char *verb = what_is_written[0] == 'r' ? "return" : "pass";
  if (big_of(v) != NULL)
    luacell_error(L, KIND_CONVERSION,
                  "can't %s a bigint (%s): tostring gives its digits", verb,
                  path_of(L));
  luacell_error(L, KIND_CONVERSION, "can't %s a %s (%s)", verb,
                type_name(L, v), path_of(L));
}

static void put_table (lua_State *L, Table *t) {
  unsigned count = (unsigned)(seen.len / sizeof(Table *));
  Table **known = (Table **)seen.p;
  byte head[9];
  Open o;
  unsigned place = t->extmark & luacell_PLACE, shape = table_shape(t);
  if (place < count && known[place] == t) {
    put_tagged_u32(L, TAG_BACKREF, place);
    return;
  }
  t->extmark = count | shape;
  gc_pin_weak(L, t);
  if (!bytes_add(&seen, &t, sizeof t)) luacell_memory_error(L);
  memset(&o, 0, sizeof o);
  o.t = t;
  o.has_length = table_list_length(t, &o.n);
  setnilvalue(&o.key);
  head[0] = guest.revision < 4 || shape == 0 ? TAG_TABLE
            : shape == luacell_SHAPE_LIST    ? TAG_LIST
                                             : TAG_MAP;
  put_u32(head + 1, o.n);
  put_u32(head + 5, 0);
  o.count_at = written + 5;
  put(L, head, sizeof head);
  if (!bytes_add(&opened, &o, sizeof o)) luacell_memory_error(L);
}

/* {== Functions that the host holds */

/* The handles in this message, which nobody releases when it isn't sent. */
static Bytes handles; /* of unsigned */

/* In guest.handle_of: the handle, and above it how often it was sent. */
#define SENT_ONCE ((lua_Unsigned)1 << 32)

/*
** A function has one handle, however often it is sent. The host releases it
** once for each time.
*/
static unsigned handle_send (lua_State *L, const TValue *f) {
  const TValue *known = luaH_get(guest.handle_of, f);
  lua_Unsigned sent = ttisinteger(known) ? l_castS2U(ivalue(known)) : 0;
  unsigned handle = (unsigned)sent;
  TValue n;
  if (sent == 0) {
    do handle = ++guest.next_handle;
    while (handle == 0 || !isempty(luaH_getint(guest.handles, handle)));
    sent = handle;
  }
  if (!bytes_add(&handles, &handle, sizeof handle)) luacell_memory_error(L);
  table_put(L, guest.handles, handle, f);
  setivalue(&n, l_castU2S(sent + SENT_ONCE));
  luaH_set(L, guest.handle_of, f, &n);
  luaC_barrierback(L, obj2gco(guest.handle_of), f);
  return handle;
}

void handle_release (lua_State *L, unsigned handle) {
  const TValue *f = luaH_getint(guest.handles, handle);
  const TValue *known;
  TValue nil;
  if (isempty(f)) return;
  known = luaH_get(guest.handle_of, f);
  if (ttisinteger(known)) {
    lua_Unsigned sent = l_castS2U(ivalue(known)) - SENT_ONCE;
    if (sent >= SENT_ONCE) {
      setivalue((TValue *)known, l_castU2S(sent));
      return;
    }
    setempty((TValue *)known);
  }
  setnilvalue(&nil);
  table_put(L, guest.handles, handle, &nil);
}

static void release_unsent (lua_State *L) {
  while (handles.len > 0) {
    unsigned handle;
    handles.len -= sizeof handle;
    memcpy(&handle, handles.p + handles.len, sizeof handle);
    handle_release(L, handle);
  }
}

/* }== */

static void put_function (lua_State *L, const TValue *f) {
  size_t n;
  const char *name = builtin_name(f, &n);
  if (host_value_is(f))
    put_tagged_u32(L, TAG_HOST_FUNCTION, host_function_number(f));
  else if (name != NULL)
    put_string(L, TAG_BUILTIN, name, n);
  else if (guest.revision >= 2)
    put_tagged_u32(L, TAG_HANDLE, handle_send(L, f));
  else if (ttisLclosure(f)) {
    static Bytes code = {.kind = PASSING};
    code.len = 0;
    closure_dump(L, f, &code);
    put_string(L, TAG_FUNCTION, code.p, code.len);
    bytes_shrink(&code);
  }
  else
    cannot_return(L, f);
}

/* Writes the value when it is one that refers to nothing. */
static inline int put_plain (lua_State *L, const TValue *v) {
  byte b[9];
  switch (ttypetag(v)) {
    case LUA_VFALSE:
    case LUA_VTRUE:
      b[0] = TAG_BOOLEAN;
      b[1] = !l_isfalse(v);
      put(L, b, 2);
      return 1;
    case LUA_VNUMINT: {
      lua_Integer i = ivalue(v);
      b[0] = TAG_INTEGER;
      memcpy(b + 1, &i, 8);
      put(L, b, 9);
      return 1;
    }
    case LUA_VNUMFLT: {
      lua_Number n = luacell_same_nan(fltvalue(v));
      b[0] = TAG_FLOAT;
      memcpy(b + 1, &n, 8);
      put(L, b, 9);
      return 1;
    }
    case LUA_VSHRSTR:
    case LUA_VLNGSTR:
      put_string(L, TAG_STRING, svalue(v), vslen(v));
      return 1;
    default:
      if (null_is(v) && guest.revision >= 4) b[0] = TAG_NULL;
      else if (!ttisnil(v)) return 0;
      else b[0] = TAG_NIL;
      put(L, b, 1);
      return 1;
  }
}

static void put_value (lua_State *L, const TValue *v) {
  if (put_plain(L, v)) return;
  switch (ttypetag(v)) {
    case LUA_VTABLE: {
      size_t n;
      const char *name;
      Table *t = hvalue(v);
      if (t->extid != 0)
        put_tagged_u32(L, TAG_EXTERNAL, external_shown_id(L, t));
      else if (guest.revision >= 2)
        put_table(L, t);
      else if ((name = builtin_name(v, &n)) != NULL)
        put_string(L, TAG_BUILTIN, name, n);
      else { /* a revision 1 host knows external tables only */
        guest.above.make_external(L, v);
        put_tagged_u32(L, TAG_EXTERNAL, t->extid);
      }
      break;
    }
    case LUA_VLCL:
    case LUA_VLCF:
    case LUA_VCCL:
      put_function(L, v);
      break;
    case LUA_VUSERDATA:
      if (host_object_is(v)) {
        byte b[4];
        unsigned class, number = host_object_number(v, &class);
        put_tagged_u32(L, TAG_HOST_OBJECT, number);
        put_u32(b, class);
        put(L, b, sizeof b);
        break;
      } /* else: fall through */
    default:
      cannot_return(L, v);
  }
}

/* The next value of a table, key or value of a pair; 0 when it is whole. */
static inline int next_of (Open *o, TValue *v) {
  if (o->i < o->n) {
    o->i++;
    setivalue(&o->key, o->i);
    *v = *luaH_getint(o->t, o->i);
    return 1;
  }
  if (o->has_value) {
    o->has_value = 0;
    *v = o->val;
    return 1;
  }
  do {
    if (!table_step(o->t, &o->pos, &o->key, &o->val)) return 0;
  } while ((ttisinteger(&o->key) && l_castS2U(ivalue(&o->key)) - 1u < o->n) ||
           (o->has_length && is_length_field(&o->key)));
  o->pairs++;
  o->has_value = 1;
  *v = o->key;
  return 1;
}

/* Writes what the innermost open table still has, up to a table in it. */
static void put_rest (lua_State *L) {
  TValue v;
  do {
    Open *o = top();
    luacell_look(L);
    if (!next_of(o, &v)) {
      put_u32(out->p + o->count_at, o->pairs);
      opened.len -= sizeof(Open);
      return;
    }
  } while (put_plain(L, &v));
  put_value(L, &v); /* may move 'opened' */
}

/* Appends the values at stack indices first, first+1, ... to 'to'. */
void encode_values (lua_State *L, const char *what, int first, int count,
                    Bytes *to) {
  int i, held = 0;
  release_unsent(L);
  what_is_written = what;
  opened.len = seen.len = 0;
  out = to;
  written = to->len;
  for (i = 0; i < count; i++) {
    TValue v = *s2v(L->ci->func.p + first + i);
    if (put_plain(L, &v)) continue;
    if (!held++) gc_hold(L);
    number_of_it = i + 1;
    put_value(L, &v);
    while (opened.len > 0) put_rest(L);
  }
  if (written > to->cap)
    luacell_error(L, KIND_CONVERSION,
                  "result of %d bytes is too large for this host "
                  "(%d at most)", (int)written, (int)to->cap);
  if (held) gc_release(L);
  to->len = written;
  bytes_shrink(&opened);
  bytes_shrink(&seen);
  bytes_shrink(&handles);
}
