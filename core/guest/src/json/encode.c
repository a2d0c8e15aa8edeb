/*
** Values into JSON text. Tables are walked with a list of open ones, so that no
** depth can exhaust the C stack. Nothing here runs a script: entries are raw,
** those of stored tables come from the host.
*/
#include "json/json.h"

#include <math.h>

/* A table whose content is being written. */
typedef struct Open {
  const Table *t; /* the very table, or the copy of a stored one */
  const Table *shown; /* what a script has as the table */
  unsigned n; /* length of a list; of an object, entries written */
  unsigned pos; /* of a list, entries written; else the place among all */
  int list;
  int copied; /* the copy is on Lua's stack */
  TValue key; /* of the entry that is being written */
} Open;

/* Kept between calls so that an error on the way leaks nothing. */
static Bytes opened = {.kind = PASSING}; /* of Open */
static Bytes out = {.kind = PASSING};

static int indent; /* spaces a level; 0: all in one line */

static size_t count_open (void) { return opened.len / sizeof(Open); }
static Open *open_at (size_t i) { return (Open *)opened.p + i; }
static Open *innermost (void) { return open_at(count_open() - 1); }

/* {== Messages */

#define SHOWN_STEPS 12 /* of a longer path the middle is left out */

static const char *path_of (lua_State *L) {
  size_t i, n = count_open();
  path_start(L, "$");
  for (i = 0; i < n; i++) {
    if (i < SHOWN_STEPS / 2 || i + SHOWN_STEPS / 2 >= n)
      path_key(L, &open_at(i)->key);
    else if (i == SHOWN_STEPS / 2) path_cut(L);
  }
  return path_text(L);
}

/* What it is, and where, the last entry of the innermost table. */
static l_noret cannot_write (lua_State *L, const char *what) {
  luacell_error(L, KIND_CONVERSION, "%s can't be written as JSON (%s)", what,
                path_of(L));
}

/* }== */

static void put (lua_State *L, const void *s, size_t n) {
  if (!bytes_add(&out, s, n)) luacell_memory_error(L);
}

static void put_byte (lua_State *L, char c) { put(L, &c, 1); }

static void put_line (lua_State *L, size_t level) {
  size_t n = level * (size_t)indent;
  if (indent == 0) return;
  put_byte(L, '\n');
  if (!bytes_reserve(&out, n)) luacell_memory_error(L);
  memset(out.p + out.len, ' ', n);
  out.len += n;
}

static void put_integer (lua_State *L, lua_Integer i) {
  char digits[24];
  put(L, digits, (size_t)lua_integer2str(digits, sizeof digits, i));
}

static void put_float (lua_State *L, lua_Number f) {
  char digits[FLOAT_DIGITS];
  size_t n;
  if (!isfinite(f)) cannot_write(L, "a float that is not finite");
  n = float_digits(digits, f);
  put(L, digits, n);
  /* or it would come back as an integer */
  if (strpbrk(digits, ".e") == NULL) put(L, ".0", 2);
}

static void put_escaped (lua_State *L, byte c) {
  static const char known[] = "\"\\\b\f\n\r\t", escapes[] = "\"\\bfnrt";
  char escape[6] = {'\\', 'u', '0', '0', (char)('0' + (c >> 4)),
                    "0123456789abcdef"[c & 15]};
  const char *k = memchr(known, c, sizeof known - 1);
  if (k != NULL) escape[1] = escapes[k - known];
  put(L, escape, k != NULL ? 2 : 6);
}

static void put_text (lua_State *L, const TValue *v) {
  const byte *p = (const byte *)svalue(v), *end = p + vslen(v), *run = p;
  put_byte(L, '"');
  while (p < end) {
    luacell_look(L);
    if (*p >= 0x80) {
      size_t n = utf8_length(p, end);
      if (n == 0) cannot_write(L, "a string that is not UTF-8");
      p += n;
    }
    else if (*p < ' ' || *p == '"' || *p == '\\') {
      put(L, run, (size_t)(p - run));
      put_escaped(L, *p);
      run = ++p;
    }
    else p++;
  }
  put(L, run, (size_t)(p - run));
  put_byte(L, '"');
}

/* {== Tables */

/* The length of a list: it has the keys from 1 on, and no others; -1: none. */
static lua_Integer list_length (lua_State *L, const Table *t, TValue *key) {
  lua_Unsigned n = luaH_getn((Table *)t), count = 0;
  unsigned pos = 0;
  TValue val;
  while (table_step(t, &pos, key, &val)) {
    luacell_look(L);
    if (!ttisinteger(key) || l_castS2U(ivalue(key)) - 1u >= n) return -1;
    count++;
  }
  return count == n ? (lua_Integer)n : -1;
}

static void check_new (lua_State *L, const Table *t) {
  size_t i, n = count_open();
  if (n == JSON_DEPTH) cannot_write(L, "a table nested this deeply");
  if (t->extid == 0 && (t->extmark >= n || open_at(t->extmark)->shown != t))
    return;
  for (i = 0; i < n; i++) /* the mark of a stored table is taken */
    if (open_at(i)->shown == t) cannot_write(L, "a cycle");
}

static void open_table (lua_State *L, Table *t) {
  Open o;
  lua_Integer n;
  int marked = json_is_list(t);
  check_new(L, t);
  memset(&o, 0, sizeof o);
  o.shown = t;
  setnilvalue(&o.key);
  if (t->extid != 0) {
    o.copied = 1;
    need_stack(L, 4);
    sethvalue2s(L, L->top.p, t);
    api_incr_top(L);
    lua_newtable(L);
    walk_into(L, t->extid, lua_gettop(L));
    o.t = hvalue(s2v(L->top.p - 1));
  }
  else {
    o.t = t;
    t->extmark = (unsigned)count_open();
    gc_pin_weak(L, t);
  }
  if (!bytes_add(&opened, &o, sizeof o)) luacell_memory_error(L);
  n = list_length(L, o.t, &innermost()->key);
  if (marked && n < 0)
    cannot_write(L, "a list with other keys, or with gaps,");
  innermost()->list = marked || n > 0;
  innermost()->n = n > 0 ? (unsigned)n : 0;
  put_byte(L, innermost()->list ? '[' : '{');
}

static void put_key (lua_State *L, const Open *o) {
  const TValue *key = &o->key;
  lua_Integer i;
  if (ttisstring(key)) {
    const char *s = svalue(key);
    if ((lisdigit((byte)*s) || *s == '-') && key_is_integer(s, vslen(key), &i) &&
        !isempty(luaH_getint((Table *)o->t, i)))
      cannot_write(L, "a key that is there as a number and as a string");
    put_text(L, key);
  }
  else if (ttisinteger(key)) {
    put_byte(L, '"');
    put_integer(L, ivalue(key));
    put_byte(L, '"');
  }
  else
    cannot_write(L, "a key of this kind");
  put(L, ": ", indent != 0 ? 2 : 1);
}

/* Goes on to the next entry; 0 when there is none. */
static int next_entry (Open *o, TValue *val) {
  if (!o->list) return table_step(o->t, &o->pos, &o->key, val);
  if (o->pos == o->n) return 0;
  setivalue(&o->key, (lua_Integer)++o->pos);
  *val = *luaH_getint((Table *)o->t, o->pos);
  return 1;
}

/* }== */

static void put_value (lua_State *L, const TValue *v) {
  switch (ttypetag(v)) {
    case LUA_VNIL: put(L, "null", 4); break;
    case LUA_VFALSE: put(L, "false", 5); break;
    case LUA_VTRUE: put(L, "true", 4); break;
    case LUA_VNUMINT: put_integer(L, ivalue(v)); break;
    case LUA_VNUMFLT: put_float(L, fltvalue(v)); break;
    case LUA_VSHRSTR:
    case LUA_VLNGSTR: put_text(L, v); break;
    case LUA_VTABLE: open_table(L, hvalue(v)); break;
    default:
      if (json_is_null(v)) put(L, "null", 4);
      else
        cannot_write(L, lua_pushfstring(L, "a %s", type_name(L, v)));
  }
}

/* Writes the next entry of the innermost table, or its end. */
static void put_next (lua_State *L) {
  Open *o = innermost();
  TValue val;
  int first = o->pos == 0 || (!o->list && o->n == 0);
  if (next_entry(o, &val)) {
    if (!first) put_byte(L, ',');
    put_line(L, count_open());
    if (!o->list) {
      o->n = 1;
      put_key(L, o);
    }
    put_value(L, &val); /* may move 'opened' */
    return;
  }
  if (!first) put_line(L, count_open() - 1);
  put_byte(L, o->list ? ']' : '}');
  if (o->copied) L->top.p -= 2;
  opened.len -= sizeof(Open);
}

static int check_indent (lua_State *L) {
  lua_Integer n;
  if (lua_isnoneornil(L, 2)) return 0;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_pushliteral(L, "indent");
  lua_rawget(L, 2);
  n = luaL_optinteger(L, -1, 0);
  luaL_argcheck(L, 0 <= n && n <= 16, 2, "'indent' must be from 0 to 16");
  return (int)n;
}

int json_encode (lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 2);
  indent = check_indent(L);
  opened.len = out.len = 0;
  gc_hold(L);
  put_value(L, s2v(L->ci->func.p + 1));
  while (opened.len > 0) {
    luacell_look(L);
    put_next(L);
  }
  push_string(L, (const char *)out.p, out.len);
  gc_release(L);
  bytes_shrink(&opened);
  bytes_shrink(&out);
  luaC_checkGC(L);
  return 1;
}
