/*
** JSON text into values. What is open lies on Lua's stack: of each container
** the place of the one around it, its table, and the values that are not in the
** table yet. So most tables are filled once they are whole, with the size that
** they need.
**
** The collector is held from start to end: no script runs, and the text, at
** index 1, stays where it is. It ends with a zero, which belongs to nothing.
*/
#include "json/json.h"

#include <math.h>

typedef struct Reader {
  lua_State *L;
  const byte *start, *p, *end;
  unsigned base; /* where the innermost container begins; 0 for none */
  int depth;
} Reader;

/* So many values wait on the stack, for tables that are larger than that. */
#define PORTION 64

#define at(L, place) s2v((L)->ci->func.p + (place))

static l_noret malformed (const Reader *r, const char *what) {
  int line = 1, column = 1;
  const byte *q;
  for (q = r->start; q < r->p; q++) {
    luacell_look(r->L);
    column++;
    if (*q == '\n') {
      line++;
      column = 1;
    }
    else if ((*q & 0xC0) == 0x80) column--;
  }
  luacell_error(r->L, KIND_CONVERSION,
                "not valid JSON at line %d, column %d: %s", line, column, what);
}

static l_noret expected (const Reader *r, const char *what) {
  malformed(r, lua_pushfstring(r->L, "expected %s%s", what,
                               r->p == r->end ? ", found the end of the text"
                                              : ""));
}

#define SPACES \
  ((uint64_t)1 << ' ' | 1u << '\t' | 1u << '\n' | 1u << '\r')

/* What comes next but space. */
static byte skip_space (Reader *r) {
  while (*r->p <= ' ' && (SPACES >> *r->p & 1)) {
    luacell_look(r->L);
    r->p++;
  }
  return *r->p;
}

/* {== Strings */

/* The number in "\uXXXX"; UINT_MAX, half of no pair, when there is none. */
static unsigned unit (const byte *p) {
  unsigned n = 0;
  int i;
  for (i = 2; i < 6; i++) {
    if (!lisxdigit(p[i])) return UINT_MAX;
    n = n << 4 | (unsigned)luaO_hexavalue(p[i]);
  }
  return n;
}

/* Adds what the escape here means. */
static void unescape (Reader *r) {
  static const char letters[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
  char utf8[UTF8BUFFSZ];
  unsigned code;
  int n;
  const byte *p = r->p;
  const char *known = memchr(letters, p[1], sizeof letters - 1);
  if (known != NULL) {
    json_put(means + (known - letters), 1);
    r->p += 2;
    return;
  }
  code = p[1] == 'u' ? unit(p) : UINT_MAX;
  if (code == UINT_MAX) malformed(r, "invalid escape sequence");
  p += 6;
  if (code >> 11 == 0xD800 >> 11) { /* half of a pair */
    unsigned low = p[0] == '\\' && p[1] == 'u' ? unit(p) : 0;
    if (code >= 0xDC00 || low >> 10 != 0xDC00 >> 10)
      malformed(r, "half of a surrogate pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    p += 6;
  }
  r->p = p;
  n = luaO_utf8esc(utf8, code);
  json_put(utf8 + UTF8BUFFSZ - n, (size_t)n);
}

/* Pushes the string that begins here. */
static void push_text (Reader *r) {
  const byte *start = ++r->p, *run = start;
  json_start();
  for (;;) {
    r->p = json_skip_plain(r->L, r->p, r->end);
    if (*r->p != '\\') break;
    luacell_look(r->L);
    json_put(run, (size_t)(r->p - run));
    unescape(r);
    run = r->p;
  }
  if (*r->p != '"')
    malformed(r, r->p == r->end   ? "unfinished string"
                 : *r->p >= 0x80 ? "text that is not UTF-8"
                                 : "control character in a string");
  if (run != start) {
    json_put(run, (size_t)(r->p - run));
    json_push_text(r->L);
  }
  else
    push_string(r->L, (const char *)run, (size_t)(r->p - run));
  r->p++;
}

/* }== */

static void skip_digits (Reader *r) {
  if (!lisdigit(*r->p)) expected(r, "a digit");
  while (lisdigit(*r->p)) {
    luacell_look(r->L);
    r->p++;
  }
}

/* Pushes a number: an integer if it is written as one and fits. */
static void push_number (Reader *r) {
  const char *start = (const char *)r->p;
  char *end;
  lua_Integer i;
  lua_Number n;
  int whole = 1;
  if (*r->p == '-') r->p++;
  if (*r->p == '0') r->p++;
  else skip_digits(r);
  if (*r->p == '.') {
    whole = 0;
    r->p++;
    skip_digits(r);
  }
  if ((*r->p | 32) == 'e') {
    whole = 0;
    r->p++;
    if (*r->p == '-' || *r->p == '+') r->p++;
    skip_digits(r);
  }
  /* "-0" is the text of no integer */
  if (whole &&
      key_is_integer(start, (size_t)((const char *)r->p - start), &i)) {
    lua_pushinteger(r->L, i);
    return;
  }
  n = luacell_decimal(start, &end);
  if (isinf(n)) {
    r->p = (const byte *)start;
    malformed(r, "number out of range");
  }
  lua_pushnumber(r->L, n);
}

static void skip_word (Reader *r, const char *word) {
  const byte *p = r->p;
  for (; *word != '\0'; word++, p++)
    if (*p != (byte)*word) expected(r, "a value");
  r->p = p;
}

/* {== Containers */

/* Puts what waits on the stack into the innermost table. */
static void fill_table (Reader *r) {
  lua_State *L = r->L;
  Table *t = hvalue(at(L, r->base + 1));
  unsigned first = r->base + 2, list = table_is_list(t), done = 0, i;
  unsigned n = (unsigned)(L->top.p - L->ci->func.p) - first;
  if (n == 0) return;
  if (list) done = (unsigned)luaH_getn(t);
  else n /= 2;
  if (luaH_realasize(t) == 0 && isdummy(t))
    luaH_resize(L, t, list ? n : 0, list ? 0 : n);
  for (i = 0; i < n; i++) {
    luacell_look(L); /* keys may collide */
    if (list) table_put(L, t, (lua_Integer)done + i + 1, at(L, first + i));
    else {
      TValue key = *at(L, first + 2 * i), val = *at(L, first + 2 * i + 1);
      luaH_set(L, t, &key, &val);
      luaC_barrierback(L, obj2gco(t), &val);
    }
  }
  invalidateTMcache(t);
  L->top.p = L->ci->func.p + first;
}

static void open_container (Reader *r, int list) {
  lua_State *L = r->L;
  if (++r->depth > JSON_DEPTH) malformed(r, "nested too deeply");
  lua_pushinteger(L, r->base);
  r->base = (unsigned)(L->top.p - L->ci->func.p) - 1;
  lua_newtable(L);
  if (list) table_set_shape(hvalue(s2v(L->top.p - 1)), luacell_SHAPE_LIST);
  r->p++;
}

/* The innermost container becomes a value of the one around it. */
static void close_container (Reader *r) {
  lua_State *L = r->L;
  unsigned base = r->base;
  fill_table(r);
  r->base = (unsigned)ivalue(at(L, base));
  setobj2s(L, L->ci->func.p + base, at(L, base + 1));
  L->top.p--;
  r->depth--;
  r->p++;
}

static void push_key (Reader *r) {
  if (skip_space(r) != '"') expected(r, "a key, a string");
  push_text(r);
  if (skip_space(r) != ':') expected(r, "':'");
  r->p++;
}

/* }== */

/* Pushes a value, or opens a container. */
static void push_value (Reader *r) {
  byte c = skip_space(r);
  switch (c) {
    case '[':
    case '{': open_container(r, c == '['); break;
    case '"': push_text(r); break;
    case 't':
      skip_word(r, "true");
      lua_pushboolean(r->L, 1);
      break;
    case 'f':
      skip_word(r, "false");
      lua_pushboolean(r->L, 0);
      break;
    case 'n':
      skip_word(r, "null");
      null_push(r->L);
      break;
    default:
      if (c != '-' && !lisdigit(c)) expected(r, "a value");
      push_number(r);
  }
}

/*
** Goes on behind a value, or at the start of a container, to where the next
** value is to be; 0 when all is whole.
*/
static int to_next (Reader *r, int begins) {
  while (r->base != 0) {
    int list = table_is_list(hvalue(at(r->L, r->base + 1)));
    byte c = skip_space(r);
    luacell_look(r->L);
    if (c == (list ? ']' : '}')) close_container(r);
    else {
      if (!begins) {
        if (c != ',') expected(r, list ? "',' or ']'" : "',' or '}'");
        r->p++;
        if (r->L->top.p - (r->L->ci->func.p + r->base) > PORTION) fill_table(r);
      }
      if (!list) push_key(r);
      return 1;
    }
    begins = 0;
  }
  return 0;
}

int json_decode (lua_State *L) {
  size_t n;
  unsigned base;
  Reader r = {.L = L};
  r.start = r.p = (const byte *)luaL_checklstring(L, 1, &n);
  r.end = r.start + n;
  lua_settop(L, 1);
  gc_hold(L);
  do {
    base = r.base;
    need_stack(L, 8);
    push_value(&r);
  } while (to_next(&r, r.base != base));
  skip_space(&r);
  if (r.p != r.end) expected(&r, "the end of the text");
  gc_release(L);
  luaC_checkGC(L);
  return 1;
}
