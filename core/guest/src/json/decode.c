/*
** JSON text into values. What is open lies on Lua's stack: of each container a
** note, its table, and the values that are not in the table yet. So most tables
** are made once they are whole, with the size that they need.
**
** The collector is held from start to end: no script runs, and the text, at
** index 1, stays where it is. It ends with a zero, which belongs to nothing.
*/
#include "json/json.h"

#include <math.h>

typedef struct Reader {
  lua_State *L;
  const byte *start, *p, *end;
  unsigned base; /* place of the innermost note; 0, the function, for none */
  int depth;
} Reader;

/* So many values wait on the stack, for tables that are larger than that. */
#define PORTION 64u

/* A note: the note around it, how many values are in the table, the kind. */
#define note_of(base, done, list) \
  (((lua_Integer)(base) << 32) | ((lua_Integer)(done) << 1) | (list))
#define note_base(note) ((unsigned)((note) >> 32))
#define note_done(note) ((unsigned)(note) >> 1)
#define note_list(note) ((unsigned)(note) & 1)

#define at(L, place) s2v((L)->ci->func.p + (place))
#define height(L) ((unsigned)((L)->top.p - (L)->ci->func.p))

static Bytes text = {.kind = PASSING}; /* a string with escapes */

static l_noret malformed (const Reader *r, const byte *p, const char *what) {
  lua_Integer line = 1, column = 1;
  const byte *q;
  for (q = r->start; q < p; q++) {
    luacell_look(r->L);
    if (*q == '\n') {
      line++;
      column = 1;
    }
    else if ((*q & 0xC0) != 0x80) column++;
  }
  luacell_error(r->L, KIND_CONVERSION,
                "not valid JSON at line %I, column %I: %s%s", (LUAI_UACINT)line,
                (LUAI_UACINT)column, what,
                p == r->end ? ", found the end of the text" : "");
}

static void skip_space (Reader *r) {
  while (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t') {
    luacell_look(r->L);
    r->p++;
  }
}

/* {== Strings */

#define ONES (~(uint64_t)0 / 255)

/* To the first byte that is a quote, an escape, a control or beyond ASCII. */
static const byte *skip_plain (const Reader *r, const byte *p) {
  while (r->end - p >= 8) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    if ((((v ^ ONES * '"') - ONES) | ((v ^ ONES * '\\') - ONES) |
         (v - ONES * ' ') | v) & ONES << 7)
      break;
    luacell_look(r->L);
    p += 8;
  }
  while (*p >= ' ' && *p < 0x80 && *p != '"' && *p != '\\') p++;
  return p;
}

static void add (const Reader *r, const void *s, size_t n) {
  if (!bytes_add(&text, s, n)) luacell_memory_error(r->L);
}

/* The number behind "\u"; -1 when it is none. */
static long unit (const byte *p) {
  long n = 0;
  int i;
  if (p[0] != '\\' || p[1] != 'u') return -1;
  for (i = 2; i < 6; i++) {
    if (!lisxdigit(p[i])) return -1;
    n = n << 4 | luaO_hexavalue(p[i]);
  }
  return n;
}

/* Adds what an escape means; the place behind it. */
static const byte *unescape (const Reader *r, const byte *p) {
  static const char escapes[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
  char utf8[UTF8BUFFSZ];
  const char *known;
  long code, low;
  int n;
  if (p[1] != '\0' && (known = strchr(escapes, p[1])) != NULL) {
    add(r, means + (known - escapes), 1);
    return p + 2;
  }
  code = unit(p);
  if (code < 0) malformed(r, p, "invalid escape sequence");
  p += 6;
  if (code >> 11 == 0xD800 >> 11) { /* half a pair */
    low = unit(p);
    if (code >= 0xDC00 || low >> 10 != 0xDC00 >> 10)
      malformed(r, p - 6, "half of a surrogate pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    p += 6;
  }
  n = luaO_utf8esc(utf8, (unsigned long)code);
  add(r, utf8 + UTF8BUFFSZ - n, (size_t)n);
  return p;
}

/* Pushes the string that begins here. */
static void push_text (Reader *r) {
  const byte *run = r->p + 1, *p = run;
  text.len = 0;
  for (;;) {
    size_t n;
    p = skip_plain(r, p);
    if (*p == '"') break;
    luacell_look(r->L);
    if (*p == '\\') {
      add(r, run, (size_t)(p - run));
      run = p = unescape(r, p);
    }
    else if (*p < ' ')
      malformed(r, p, p == r->end ? "expected '\"'"
                                  : "control character in a string");
    else {
      if ((n = utf8_length(p, r->end)) == 0)
        malformed(r, p, "text that is not UTF-8");
      p += n;
    }
  }
  r->p = p + 1;
  if (text.len > 0) {
    add(r, run, (size_t)(p - run));
    push_string(r->L, (const char *)text.p, text.len);
  }
  else
    push_string(r->L, (const char *)run, (size_t)(p - run));
}

/* }== */

static const byte *skip_digits (const Reader *r, const byte *p) {
  if (!lisdigit(*p)) malformed(r, p, "expected a digit");
  while (lisdigit(*p)) {
    luacell_look(r->L);
    p++;
  }
  return p;
}

/* Pushes a number: an integer if it is written as one and fits. */
static void push_number (Reader *r) {
  const byte *start = r->p, *digits = start + (*start == '-'), *p = digits;
  int negative = digits > start, integer = 1;
  lua_Unsigned v = 0;
  TValue *to = s2v(r->L->top.p);
  while (lisdigit(*p) && p - digits < 20) v = v * 10 + (lua_Unsigned)(*p++ - '0');
  if (*digits == '0') p = digits + 1;
  else if (p == digits || p - digits > 19) {
    p = skip_digits(r, digits);
    integer = 0;
  }
  if (*p == '.') {
    p = skip_digits(r, p + 1);
    integer = 0;
  }
  if (*p == 'e' || *p == 'E') {
    p++;
    p = skip_digits(r, p + (*p == '-' || *p == '+'));
    integer = 0;
  }
  r->p = p;
  /* -0 is a float: no integer has a sign of its own for it */
  if (integer && v <= (lua_Unsigned)LUA_MAXINTEGER + (lua_Unsigned)negative &&
      !(negative && v == 0)) {
    setivalue(to, l_castU2S(negative ? 0u - v : v));
  }
  else {
    char *end;
    lua_Number n = luacell_decimal((const char *)start, &end);
    if (isinf(n)) malformed(r, start, "number out of range");
    setfltvalue(to, n);
  }
  r->L->top.p++;
}

/* {== Containers */

static void open_container (Reader *r, int list) {
  lua_State *L = r->L;
  unsigned place = height(L);
  if (r->depth == JSON_DEPTH) malformed(r, r->p, "nested too deeply");
  r->depth++;
  setivalue(at(L, place), note_of(r->base, 0, list));
  setnilvalue(at(L, place + 1));
  L->top.p += 2;
  r->base = place;
  r->p++;
}

static void fill_list (lua_State *L, Table *t, unsigned done, unsigned first,
                       unsigned n, int whole) {
  unsigned i, size = t->alimit;
  if (done + n > size) {
    size = whole || size < PORTION ? done + n : size * 2;
    luaH_resize(L, t, size, 0);
  }
  for (i = 0; i < n; i++) {
    const TValue *v = at(L, first + i);
    setobj2t(L, &t->array[done + i], v);
    luaC_barrierback(L, obj2gco(t), v);
  }
}

static void fill_object (lua_State *L, Table *t, unsigned first, unsigned n) {
  unsigned i;
  if (isdummy(t) && n > 0) luaH_resize(L, t, 0, n / 2);
  for (i = 0; i < n; i += 2) {
    TValue key = *at(L, first + i), val = *at(L, first + i + 1);
    luacell_look(L); /* keys may collide */
    luaH_finishset(L, t, &key, luaH_getstr(t, tsvalue(&key)), &val);
    luaC_barrierback(L, obj2gco(t), &key);
    luaC_barrierback(L, obj2gco(t), &val);
  }
  invalidateTMcache(t);
}

/* Puts what waits on the stack into the table, which is made for it. */
static void fill_table (Reader *r, int whole) {
  lua_State *L = r->L;
  unsigned first = r->base + 2, n = height(L) - first;
  lua_Integer note = ivalue(at(L, r->base));
  Table *t;
  if (ttisnil(at(L, r->base + 1))) {
    t = luaH_new(L);
    sethvalue(L, at(L, r->base + 1), t);
    if (note_list(note)) json_mark_list(t);
  }
  t = hvalue(at(L, r->base + 1));
  if (note_list(note)) {
    fill_list(L, t, note_done(note), first, n, whole);
    chgivalue(at(L, r->base), note + ((lua_Integer)n << 1));
  }
  else
    fill_object(L, t, first, n);
  L->top.p -= n;
}

/* The container becomes a value of the one around it. */
static void close_container (Reader *r) {
  lua_State *L = r->L;
  lua_Integer note = ivalue(at(L, r->base));
  fill_table(r, 1);
  setobjs2s(L, L->ci->func.p + r->base, L->ci->func.p + r->base + 1);
  L->top.p--;
  r->base = note_base(note);
  r->depth--;
  r->p++;
}

/* }== */

/* Pushes a value without parts, or opens one with parts: then 0. */
static int push_value (Reader *r) {
  lua_State *L = r->L;
  size_t left = (size_t)(r->end - r->p);
  switch (*r->p) {
    case '[':
      open_container(r, 1);
      skip_space(r);
      return 0;
    case '{':
      open_container(r, 0);
      skip_space(r);
      return 0;
    case '"': push_text(r); return 1;
    case '-': case '0': case '1': case '2': case '3': case '4': case '5':
    case '6': case '7': case '8': case '9':
      push_number(r);
      return 1;
    case 't':
      if (left < 4 || memcmp(r->p, "true", 4) != 0) break;
      setbtvalue(s2v(L->top.p));
      r->p += 4;
      L->top.p++;
      return 1;
    case 'f':
      if (left < 5 || memcmp(r->p, "false", 5) != 0) break;
      setbfvalue(s2v(L->top.p));
      r->p += 5;
      L->top.p++;
      return 1;
    case 'n':
      if (left < 4 || memcmp(r->p, "null", 4) != 0) break;
      setpvalue(s2v(L->top.p), NULL);
      r->p += 4;
      L->top.p++;
      return 1;
    default: break;
  }
  malformed(r, r->p, "expected a value");
}

static void push_key (Reader *r) {
  skip_space(r);
  if (*r->p != '"') malformed(r, r->p, "expected a key, a string");
  push_text(r);
  skip_space(r);
  if (*r->p != ':') malformed(r, r->p, "expected ':'");
  r->p++;
}

/* Pushes the value that the text means. */
static void read_text (Reader *r) {
  lua_State *L = r->L;
  int whole; /* was a value completed? */
  do {
    int list = 0;
    need_stack(L, 4);
    skip_space(r);
    whole = push_value(r);
    while (r->base != 0) {
      list = note_list(ivalue(at(L, r->base)));
      if (whole) {
        luacell_look(L);
        if (height(L) - r->base - 2 >= PORTION) fill_table(r, 0);
        skip_space(r);
      }
      if (*r->p != (list ? ']' : '}')) break;
      close_container(r);
      whole = 1;
    }
    if (r->base == 0) break;
    if (whole) {
      if (*r->p != ',')
        malformed(r, r->p, list ? "expected ',' or ']'" : "expected ',' or '}'");
      r->p++;
    }
    if (!list) push_key(r);
  } while (1);
}

int json_decode (lua_State *L) {
  size_t n;
  Reader r = {.L = L};
  r.start = r.p = (const byte *)luaL_checklstring(L, 1, &n);
  r.end = r.start + n;
  lua_settop(L, 1);
  gc_hold(L);
  read_text(&r);
  skip_space(&r);
  if (r.p != r.end) malformed(&r, r.p, "expected the end of the text");
  gc_release(L);
  bytes_shrink(&text);
  luaC_checkGC(L);
  return 1;
}
