/*
** Values into JSON text. Tables are walked with a list of open ones, so that no
** depth can exhaust the C stack. Nothing here runs a script: entries are raw,
** those of stored tables come from the host.
*/
#include "json/json.h"

#include <math.h>

/* A table whose content is being written. */
typedef struct Open {
  const Table *t; /* the very table, or on Lua's stack a copy of a stored one */
  const Table *shown; /* what a script has as the table */
  unsigned n; /* length of a list */
  unsigned pos; /* of a list, entries written; else the place among all */
  int list;
  int any; /* was an entry written? */
  TValue key; /* of the entry that is being written */
} Open;

/* Kept between calls so that an error on the way leaks nothing. */
static Bytes opened = {.kind = PASSING}; /* of Open */

static size_t indent; /* spaces for each level; 0: all in one line */

static size_t count_open (void) { return opened.len / sizeof(Open); }

static Open *innermost (void) { return (Open *)(opened.p + opened.len) - 1; }

/* What it is, and where: the present entry of the innermost table. */
static l_noret cannot_write (lua_State *L, const char *what) {
  path_start(L, "$");
  path_through(L, &opened, sizeof(Open), offsetof(Open, key));
  luacell_error(L, KIND_CONVERSION, "%s can't be written as JSON (%s)", what,
                path_text(L));
}

static void put_byte (char c) { json_put(&c, 1); }

/* A new line, so many levels deep. */
static void put_line (size_t level) {
  if (indent == 0) return;
  put_byte('\n');
  while (level-- > 0) json_put("                ", indent);
}

static void put_number (lua_State *L, const TValue *v) {
  size_t n;
  const char *s;
  if (ttisfloat(v)) {
    if (!isfinite(fltvalue(v))) cannot_write(L, "a float that is not finite");
    /* no key has a sign then */
    if (fltvalue(v) == 0 && signbit(fltvalue(v))) put_byte('-');
  }
  s = key_to_text(L, v, &n);
  if (*s == '\\') { /* "\f", which tells floats from integers */
    s += 2;
    n -= 2;
  }
  json_put(s, n);
  /* or it would come back as an integer */
  if (ttisfloat(v) && memchr(s, '.', n) == NULL && memchr(s, 'e', n) == NULL)
    json_put(".0", 2);
}

static void put_escape (byte c) {
  static const char known[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
  char escape[] = "\\u00";
  const char *k = memchr(known, c, sizeof known - 1);
  if (k != NULL) escape[1] = letters[k - known];
  json_put(escape, k != NULL ? 2 : 4);
  if (k == NULL) {
    put_byte((char)('0' + (c >> 4)));
    put_byte("0123456789abcdef"[c & 15]);
  }
}

static void put_string (lua_State *L, const TValue *v) {
  const byte *p = (const byte *)svalue(v), *end = p + vslen(v);
  put_byte('"');
  for (;;) {
    const byte *run = p;
    p = json_skip_plain(L, p, end);
    json_put(run, (size_t)(p - run));
    if (p == end) break;
    if (*p >= 0x80) cannot_write(L, "a string that is not UTF-8");
    luacell_look(L);
    put_escape(*p++);
  }
  put_byte('"');
}

/* {== Tables */

/* Is this a list, that is: has it the keys from 1 to o->n, and no others but
   the length of one with gaps? */
static int is_list (lua_State *L, Open *o) {
  lua_Unsigned count = 0;
  unsigned pos = 0;
  TValue key, val;
  int has_length = table_list_length((Table *)o->t, &o->n);
  while (table_step(o->t, &pos, &key, &val)) {
    luacell_look(L);
    if (has_length && is_length_field(&key)) continue;
    if (!ttisinteger(&key) || l_castS2U(ivalue(&key)) - 1u >= o->n) return 0;
    count++;
  }
  return has_length || count == o->n;
}

static void open_table (lua_State *L, Table *t) {
  size_t i, n = count_open();
  Open o;
  int list;
  if (n == JSON_DEPTH) cannot_write(L, "a table nested this deeply");
  for (i = 0; i < n; i++)
    if (((Open *)opened.p)[i].shown == t) cannot_write(L, "a cycle");
  memset(&o, 0, sizeof o);
  o.t = o.shown = t;
  gc_pin_weak(L, t);
  if (t->extid != 0) {
    need_stack(L, 4);
    sethvalue2s(L, L->top.p, t);
    api_incr_top(L);
    lua_newtable(L);
    walk_into(L, t->extid, lua_gettop(L));
    o.t = hvalue(s2v(L->top.p - 1));
  }
  setnilvalue(&o.key);
  if (!bytes_add(&opened, &o, sizeof o)) luacell_memory_error(L);
  list = is_list(L, innermost());
  if (table_is_list(t) && !list)
    cannot_write(L, "a list with other keys, or with gaps,");
  innermost()->list = list && (table_is_list(t) || innermost()->n > 0) &&
                      table_shape(t) != luacell_SHAPE_MAP;
  put_byte(innermost()->list ? '[' : '{');
}

static void put_key (lua_State *L, const Open *o) {
  if (ttisstring(&o->key)) {
    const char *s = svalue(&o->key);
    lua_Integer i;
    if (key_is_integer(s, vslen(&o->key), &i) &&
        !isempty(luaH_getint((Table *)o->t, i)))
      cannot_write(L, lua_pushfstring(L, "both keys %s and \"%s\", the number "
                                         "and the string,", s, s));
    put_string(L, &o->key);
  }
  else {
    if (!ttisinteger(&o->key)) cannot_write(L, "a key of this kind");
    put_byte('"');
    put_number(L, &o->key);
    put_byte('"');
  }
  json_put(": ", indent > 0 ? 2 : 1);
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
  if (ttistable(v)) open_table(L, hvalue(v));
  else if (ttisstring(v)) put_string(L, v);
  else if (ttisnumber(v)) put_number(L, v);
  else if (ttistrue(v)) json_put("true", 4);
  else if (ttisfalse(v)) json_put("false", 5);
  else if (ttisnil(v) || null_is(v)) json_put("null", 4);
  else cannot_write(L, lua_pushfstring(L, "a %s", type_name(L, v)));
}

/* Writes the next entry of the innermost table, or its end. */
static void put_next (lua_State *L) {
  Open *o = innermost();
  TValue val;
  if (next_entry(o, &val)) {
    if (o->any) put_byte(',');
    o->any = 1;
    put_line(count_open());
    if (!o->list) put_key(L, o);
    put_value(L, &val); /* may move 'opened' */
    return;
  }
  opened.len -= sizeof(Open);
  if (o->any) put_line(count_open());
  put_byte(o->list ? ']' : '}');
  if (o->t != o->shown) L->top.p -= 2;
}

int json_encode (lua_State *L) {
  indent = 0;
  luaL_checkany(L, 1);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    lua_Integer n;
    int is_integer;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_pushliteral(L, "indent");
    lua_rawget(L, 2);
    n = lua_tointegerx(L, -1, &is_integer);
    luaL_argcheck(L, lua_isnil(L, -1) || (is_integer && l_castS2U(n) <= 16), 2,
                  "'indent' must be from 0 to 16");
    indent = (size_t)n;
  }
  json_start();
  opened.len = 0;
  gc_hold(L);
  put_value(L, s2v(L->ci->func.p + 1));
  while (opened.len > 0 && !json_incomplete) {
    luacell_look(L);
    put_next(L);
  }
  json_push_text(L);
  gc_release(L);
  bytes_shrink(&opened);
  luaC_checkGC(L);
  return 1;
}
