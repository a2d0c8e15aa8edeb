/*
** Keys of external tables: Lua values as UTF-8 text and back. The forms are
** described in docs/MEMORY_PROTOCOL.md.
*/
#include "values/values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ESCAPE '\\'

static Bytes text = {.kind = PASSING}; /* the key last written */

/* Length of the UTF-8 sequence at 's', 0 when it is not valid. */
size_t utf8_length (const byte *s, const byte *end) {
  size_t n, i;
  byte c = *s;
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c <= 0xDF) n = 2;
  else if (c >= 0xE0 && c <= 0xEF) n = 3;
  else if (c >= 0xF0 && c <= 0xF4) n = 4;
  else return 0;
  if ((size_t)(end - s) < n) return 0;
  for (i = 1; i < n; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  if (c == 0xE0 && s[1] < 0xA0) return 0; /* overlong */
  if (c == 0xED && s[1] > 0x9F) return 0; /* surrogate */
  if (c == 0xF0 && s[1] < 0x90) return 0; /* overlong */
  if (c == 0xF4 && s[1] > 0x8F) return 0; /* beyond U+10FFFF */
  return n;
}

/* Is this the text of an integer key? If so, which. */
int key_is_integer (const char *s, size_t len, lua_Integer *out) {
  lua_Unsigned v = 0;
  size_t i = 0;
  int negative = 0;
  if (len == 0 || len > 20) return 0;
  if (s[0] == '-') {
    negative = 1;
    i = 1;
  }
  if (i == len || (s[i] == '0' && len != 1)) return 0;
  for (; i < len; i++) {
    unsigned d = (unsigned)(byte)s[i] - '0';
    if (d > 9) return 0;
    if (v > (LUA_MAXUNSIGNED - d) / 10) return 0;
    v = v * 10 + d;
  }
  if (v > (lua_Unsigned)LUA_MAXINTEGER + (lua_Unsigned)negative) return 0;
  *out = l_castU2S(negative ? 0u - v : v);
  return 1;
}

/* Can this string cross as it is? */
static int is_plain (const char *s, size_t len) {
  const byte *p = (const byte *)s, *end = p + len;
  lua_Integer unused;
  if (len == 0 || s[0] == ESCAPE) return 0;
  /* decoders drop a byte order mark at the start of a text */
  if (len >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0) return 0;
  if ((lisdigit(*p) || *p == '-') && key_is_integer(s, len, &unused)) return 0;
  while (p < end) {
    size_t n;
    if (*p < 0x80 && *p != '\n') {
      p++;
      continue;
    }
    n = (*p == '\n') ? 0 : utf8_length(p, end);
    if (n == 0) return 0;
    p += n;
  }
  return 1;
}

static void append (lua_State *L, const char *s, size_t n) {
  if (!bytes_add(&text, s, n)) luacell_memory_error(L);
}

/* Keys can be long: now and then the run may end in the middle of one. */
#define LOOK 1024u

static const char *string_text (lua_State *L, const char *s, size_t len,
                                size_t *out) {
  const byte *p = (const byte *)s, *end = p + len;
  unsigned turns = 0;
  if (is_plain(s, len)) {
    *out = len;
    return s;
  }
  bytes_shrink(&text);
  append(L, "\\s", 2);
  while (p < end) {
    size_t n;
    if (++turns % LOOK == 0) luacell_look(L);
    if (*p == ESCAPE) {
      append(L, "\\\\", 2);
      p++;
    }
    else if (*p == '\n') {
      append(L, "\\n", 2);
      p++;
    }
    else if ((n = utf8_length(p, end)) > 0) {
      append(L, (const char *)p, n);
      p += n;
    }
    else {
      static const char digits[] = "0123456789abcdef";
      char hex[4] = {'\\', 'x', digits[*p >> 4], digits[*p & 15]};
      append(L, hex, 4);
      p++;
    }
  }
  *out = text.len;
  return (const char *)text.p;
}

static const char *integer_key (lua_State *L, lua_Integer i, size_t *len) {
  char digits[24];
  char *p = digits + sizeof digits;
  lua_Unsigned v = i < 0 ? 0u - l_castS2U(i) : l_castS2U(i);
  do {
    *--p = (char)('0' + v % 10);
    v /= 10;
  } while (v != 0);
  if (i < 0) *--p = '-';
  text.len = 0;
  append(L, p, (size_t)(digits + sizeof digits - p));
  *len = text.len;
  return (const char *)text.p;
}

static const char *float_text (lua_State *L, lua_Number n, size_t *len) {
  char buf[48], *end;
  int precision = 15, w;
  do {
    w = snprintf(buf, sizeof buf, "\\f%.*g", precision, n);
  } while (isfinite(n) && luacell_decimal(buf + 2, &end) != n &&
           ++precision <= 17);
  text.len = 0;
  append(L, buf, (size_t)w);
  *len = text.len;
  return (const char *)text.p;
}

int key_is_storable (const TValue *key) {
  return ttisstring(key) || ttisboolean(key) || ttisinteger(key) ||
         (ttisfloat(key) && !luai_numisnan(fltvalue(key)));
}

/*
** Text of a storable key; it stays valid until the next call or until the
** key is collected. NULL for a value that can't be a key.
*/
const char *key_to_text (lua_State *L, const TValue *key, size_t *len) {
  switch (ttypetag(key)) {
    case LUA_VSHRSTR:
    case LUA_VLNGSTR:
      return string_text(L, svalue(key), vslen(key), len);
    case LUA_VNUMINT: return integer_key(L, ivalue(key), len);
    case LUA_VNUMFLT: {
      lua_Integer i;
      if (luai_numisnan(fltvalue(key))) return NULL;
      if (luaV_flttointeger(fltvalue(key), &i, F2Ieq))
        return integer_key(L, i, len);
      return float_text(L, fltvalue(key), len);
    }
    case LUA_VFALSE: *len = 7; return "\\bfalse";
    case LUA_VTRUE: *len = 6; return "\\btrue";
    default: return NULL;
  }
}

static int hex_digit (char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/* Undoes string_text into 'text'; 0 when it is not such a form. */
static int unescape (lua_State *L, const char *s, size_t len) {
  size_t i = 0;
  unsigned turns = 0;
  bytes_shrink(&text);
  while (i < len) {
    char c = s[i++];
    if (++turns % LOOK == 0) luacell_look(L);
    if (c == ESCAPE) {
      if (i == len) return 0;
      switch (s[i++]) {
        case '\\': break;
        case 'n': c = '\n'; break;
        case 'x': {
          int high, low;
          if (len - i < 2) return 0;
          high = hex_digit(s[i]);
          low = hex_digit(s[i + 1]);
          if (high < 0 || low < 0) return 0;
          c = (char)(high * 16 + low);
          i += 2;
          break;
        }
        default: return 0;
      }
    }
    append(L, &c, 1);
  }
  return 1;
}

/* Pushes the key that a text means. */
void key_from_text (lua_State *L, const char *s, size_t len) {
  lua_Integer i;
  if (key_is_integer(s, len, &i)) {
    lua_pushinteger(L, i);
    return;
  }
  if (len >= 2 && s[0] == ESCAPE) {
    if (s[1] == 's' && unescape(L, s + 2, len - 2)) {
      lua_pushlstring(L, (const char *)text.p, text.len);
      return;
    }
    if (len == 6 && memcmp(s, "\\btrue", 6) == 0) {
      lua_pushboolean(L, 1);
      return;
    }
    if (len == 7 && memcmp(s, "\\bfalse", 7) == 0) {
      lua_pushboolean(L, 0);
      return;
    }
    if (s[1] == 'f' && len < 40) {
      char buf[40];
      char *stop;
      double n;
      memcpy(buf, s + 2, len - 2);
      buf[len - 2] = '\0';
      n = strtod(buf, &stop);
      if (stop == buf + len - 2 && len > 2 && !luai_numisnan(n)) {
        lua_pushnumber(L, n);
        return;
      }
    }
  }
  lua_pushlstring(L, s, len);
}
