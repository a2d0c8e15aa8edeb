/*
** Numbers as text and back. Long ones are taken apart, and put together, at
** powers of the base that double in length, so that most of the work is done
** by few large divisions and multiplications.
*/
#include "bigint/bigint.h"

/* Up to chunk^(2^LEAF) a number is converted directly. */
#define LEAF 5
#define LEAF_CHUNKS (1u << LEAF)

/* A chunk is more than 2^32 / 36, so this much is surely below that. */
#define LEAF_LIMBS 26u

#define MAX_POWERS 27

/* Powers of the base: power[i] is chunk^(2^i). */
typedef struct Powers {
  unsigned base;
  unsigned digits; /* in a chunk */
  Limb chunk; /* the largest power of the base in a limb */
  int count;
  Magnitude power[MAX_POWERS];
} Powers;

static void powers_start (Powers *p, unsigned base) {
  uint64_t next = base;
  p->base = base;
  p->digits = 0;
  for (; next <= UINT32_MAX; next *= base) {
    p->chunk = (Limb)next;
    p->digits++;
  }
  p->power[0].d = &p->chunk;
  p->power[0].n = 1;
  p->count = 1;
}

/* Pushes one thing: the room of the new power. */
static void powers_add (lua_State *L, Powers *p) {
  Magnitude last = p->power[p->count - 1];
  Limb *d = limbs_new(L, 2 * last.n);
  limbs_mul(L, d, last.d, last.n, last.d, last.n);
  p->power[p->count].d = d;
  p->power[p->count].n = limbs_trim(d, 2 * last.n);
  p->count++;
}

static void powers_drop (lua_State *L, Powers *p) {
  lua_pop(L, p->count - 1);
}

/* {== Writing */

typedef struct Writer {
  Powers powers;
  char *at;
  int padded; /* something is in front: zeros count */
} Writer;

static void write_leaf (lua_State *L, Writer *w, Magnitude m, int level) {
  char text[LEAF_CHUNKS * LIMB_BITS];
  char *end = text + sizeof text, *p = end;
  Limb rest[LEAF_CHUNKS + 1];
  size_t n = m.n;
  memcpy(rest, m.d, n * sizeof(Limb));
  while (n > 0) {
    Limb group = limbs_div_limb(L, rest, rest, n, w->powers.chunk);
    unsigned i;
    for (i = 0; i < w->powers.digits; i++) {
      *--p = "0123456789abcdefghijklmnopqrstuvwxyz"[group % w->powers.base];
      group /= w->powers.base;
    }
    n = limbs_trim(rest, n);
  }
  if (w->padded) {
    char *start = end - (w->powers.digits << level);
    while (p > start) *--p = '0';
  }
  else
    while (p < end && *p == '0') p++;
  memcpy(w->at, p, (size_t)(end - p));
  w->at += end - p;
  w->padded |= p < end;
}

/* Writes a number below chunk^(2^level). */
static void write_part (lua_State *L, Writer *w, Magnitude m, int level) {
  Magnitude power, high, low;
  Limb *q, *r;
  if (level <= LEAF) {
    write_leaf(L, w, m, level);
    return;
  }
  power = w->powers.power[--level];
  if (limbs_compare(m.d, m.n, power.d, power.n) < 0) {
    if (w->padded) {
      size_t zeros = (size_t)w->powers.digits << level;
      memset(w->at, '0', zeros);
      w->at += zeros;
    }
    write_part(L, w, m, level);
    return;
  }
  high.n = m.n - power.n + 1;
  high.d = q = limbs_new(L, high.n);
  low.d = r = limbs_new(L, power.n);
  limbs_div(L, q, r, m.d, m.n, power.d, power.n);
  high.n = limbs_trim(q, high.n);
  low.n = limbs_trim(r, power.n);
  write_part(L, w, high, level);
  write_part(L, w, low, level);
  lua_pop(L, 2);
}

void big_push_text (lua_State *L, Magnitude m, int negative, unsigned base) {
  Writer w;
  char *start;
  int level = LEAF;
  size_t chunk_bits, length;
  if (m.n == 0) {
    lua_pushliteral(L, "0");
    return;
  }
  need_stack(L, MAX_POWERS + 10);
  powers_start(&w.powers, base);
  if (m.n > LEAF_LIMBS) {
    while (w.powers.count < level ||
           2 * w.powers.power[w.powers.count - 1].n - 1 <= m.n)
      powers_add(L, &w.powers);
    level = w.powers.count;
  }
  chunk_bits = limbs_bits(&w.powers.chunk, 1) - 1;
  length = limbs_bits(m.d, m.n) / chunk_bits * w.powers.digits +
           w.powers.digits + 1;
  start = (char *)limbs_new(L, length / sizeof(Limb) + 1);
  w.at = start;
  w.padded = 0;
  if (negative) *w.at++ = '-';
  write_part(L, &w, m, level);
  lua_pushlstring(L, start, (size_t)(w.at - start));
  lua_remove(L, -2);
  lua_insert(L, -w.powers.count);
  powers_drop(L, &w.powers);
}

/* }== */

/* {== Reading */

static unsigned digit_of (char c) {
  if (c >= '0' && c <= '9') return (unsigned)(c - '0');
  if (c >= 'a' && c <= 'z') return (unsigned)(c - 'a') + 10;
  if (c >= 'A' && c <= 'Z') return (unsigned)(c - 'A') + 10;
  return UINT_MAX;
}

static size_t room_for (const Powers *p, size_t len) {
  return len / p->digits + 1;
}

static size_t read_leaf (lua_State *L, const Powers *p, const char *s,
                         size_t len, Limb *to) {
  size_t n = 0;
  while (len > 0) {
    size_t i, size = len % p->digits == 0 ? p->digits : len % p->digits;
    Limb group = 0;
    for (i = 0; i < size; i++) group = group * p->base + digit_of(s[i]);
    s += size;
    len -= size;
    group = limbs_scale(L, to, to, n, p->chunk, group);
    if (group != 0) to[n++] = group;
  }
  return n;
}

/* Reads digits into 'room_for' so many limbs; how many there are. */
static size_t read_part (lua_State *L, const Powers *p, const char *s,
                         size_t len, Limb *to) {
  size_t low_len = p->digits, high_len, hn, ln;
  Limb *high, *low;
  int i = 0;
  if (len <= (size_t)p->digits << LEAF)
    return read_leaf(L, p, s, len, to);
  while (low_len * 2 < len) {
    low_len *= 2;
    i++;
  }
  high_len = len - low_len;
  high = limbs_new(L, room_for(p, high_len));
  hn = read_part(L, p, s, high_len, high);
  low = limbs_new(L, room_for(p, low_len));
  ln = read_part(L, p, s + high_len, low_len, low);
  limbs_mul(L, to, high, hn, p->power[i].d, p->power[i].n);
  hn += p->power[i].n;
  limbs_add(to, to, hn, low, ln);
  lua_pop(L, 2);
  return limbs_trim(to, hn);
}

int big_push_digits (lua_State *L, const char *s, size_t len, int negative,
                     unsigned base) {
  Powers p;
  Big *b;
  size_t i;
  if (len == 0) return 0;
  for (i = 0; i < len; i++)
    if (digit_of(s[i]) >= base) return 0;
  need_stack(L, MAX_POWERS + 10);
  powers_start(&p, base);
  b = big_new(L, room_for(&p, len));
  if (len > (size_t)p.digits << LEAF)
    while ((size_t)p.digits << p.count < len) powers_add(L, &p);
  b->n = (unsigned)read_part(L, &p, s, len, b->d);
  powers_drop(L, &p);
  big_finish(L, negative);
  return 1;
}

/* }== */

void big_push_decimal (lua_State *L, const TValue *v) {
  const Big *b = big_of(v);
  Magnitude m = {b->d, b->n};
  big_push_text(L, m, b->negative, 10);
}

/* Pushes the number that stored text means; 0 when it means none. */
int big_push_stored (lua_State *L, const char *s, size_t len) {
  int negative = len > 0 && s[0] == '-';
  return big_push_digits(L, s + negative, len - (size_t)negative, negative,
                         10);
}
