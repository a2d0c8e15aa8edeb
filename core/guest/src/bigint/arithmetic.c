/*
** Arithmetic on magnitudes. What takes time takes from the budget, row by row,
** so that a script can be stopped in the middle of a multiplication. Room for
** what is in between sits on the Lua stack: an error leaves nothing behind.
*/
#include "bigint/bigint.h"

/* From this size on Karatsuba's way to multiply is the faster one. */
#define KARATSUBA 40u

/* Rows longer than this are interrupted to look at the budget. */
#define BLOCK ((size_t)8192)

#define LOW(x) ((Limb)(x))
#define HIGH(x) ((Limb)((x) >> LIMB_BITS))

Limb *limbs_new (lua_State *L, size_t n) {
  if (n > MAX_LIMBS) luacell_memory_error(L);
  need_stack(L, 4);
  return lua_newuserdatauv(L, n * sizeof(Limb), 0);
}

void limbs_work (lua_State *L, size_t n) {
  luacell_count(1 + (n >> 2));
  luacell_look(L);
}

size_t limbs_trim (const Limb *a, size_t n) {
  while (n > 0 && a[n - 1] == 0) n--;
  return n;
}

size_t limbs_bits (const Limb *a, size_t n) {
  return n == 0 ? 0 : n * LIMB_BITS - (size_t)__builtin_clz(a[n - 1]);
}

int limbs_compare (const Limb *a, size_t an, const Limb *b, size_t bn) {
  if (an != bn) return an < bn ? -1 : 1;
  while (an-- > 0)
    if (a[an] != b[an]) return a[an] < b[an] ? -1 : 1;
  return 0;
}

Limb limbs_add (Limb *r, const Limb *a, size_t an, const Limb *b, size_t bn) {
  uint64_t t = 0;
  size_t i;
  for (i = 0; i < bn; i++) {
    t += (uint64_t)a[i] + b[i];
    r[i] = LOW(t);
    t >>= LIMB_BITS;
  }
  for (; i < an && t != 0; i++) {
    t += a[i];
    r[i] = LOW(t);
    t >>= LIMB_BITS;
  }
  if (r != a && i < an) memmove(r + i, a + i, (an - i) * sizeof(Limb));
  return LOW(t);
}

void limbs_sub (Limb *r, const Limb *a, size_t an, const Limb *b, size_t bn) {
  uint64_t borrow = 0;
  size_t i;
  for (i = 0; i < bn; i++) {
    uint64_t t = (uint64_t)a[i] - b[i] - borrow;
    r[i] = LOW(t);
    borrow = t >> 63;
  }
  for (; i < an && borrow != 0; i++) {
    uint64_t t = (uint64_t)a[i] - borrow;
    r[i] = LOW(t);
    borrow = t >> 63;
  }
  if (r != a && i < an) memmove(r + i, a + i, (an - i) * sizeof(Limb));
}

Limb limbs_scale (lua_State *L, Limb *r, const Limb *a, size_t n, Limb factor,
                  Limb carry) {
  uint64_t t = carry;
  size_t i = 0;
  while (i < n) {
    size_t end = n - i > BLOCK ? i + BLOCK : n;
    limbs_work(L, end - i);
    for (; i < end; i++) {
      t += (uint64_t)a[i] * factor;
      r[i] = LOW(t);
      t >>= LIMB_BITS;
    }
  }
  return LOW(t);
}

/* {== Multiplication */

/* r += a * factor; the limb that follows. */
static Limb add_row (lua_State *L, Limb *r, const Limb *a, size_t n,
                     Limb factor) {
  uint64_t t = 0;
  size_t i = 0;
  while (i < n) {
    size_t end = n - i > BLOCK ? i + BLOCK : n;
    limbs_work(L, end - i);
    for (; i < end; i++) {
      t += (uint64_t)a[i] * factor + r[i];
      r[i] = LOW(t);
      t >>= LIMB_BITS;
    }
  }
  return LOW(t);
}

static void mul_by_rows (lua_State *L, Limb *r, const Limb *a, size_t an,
                         const Limb *b, size_t bn) {
  size_t i;
  if (bn == 0) {
    memset(r, 0, an * sizeof(Limb));
    return;
  }
  r[an] = limbs_scale(L, r, a, an, b[0], 0);
  for (i = 1; i < bn; i++) r[an + i] = add_row(L, r + i, a, an, b[i]);
}

/* What 'mul_equal' needs beside its arguments. */
static size_t equal_room (size_t n) {
  size_t room = 0;
  while (n >= KARATSUBA) {
    n = n - n / 2 + 1;
    room += 4 * n;
  }
  return room;
}

/*
** r = a * b, n limbs each, in 't' of 'equal_room(n)'. With a = a1 B + a0:
** a1 b1 B^2 + ((a1 + a0)(b1 + b0) - a1 b1 - a0 b0) B + a0 b0.
*/
static void mul_equal (lua_State *L, Limb *r, const Limb *a, const Limb *b,
                       size_t n, Limb *t) {
  size_t low = n / 2, high = n - low, sum = high + 1;
  Limb *sa = t, *sb = sa + sum, *product = sb + sum;
  if (n < KARATSUBA) {
    mul_by_rows(L, r, a, n, b, n);
    return;
  }
  t = product + 2 * sum;
  mul_equal(L, r, a, b, low, t);
  mul_equal(L, r + 2 * low, a + low, b + low, high, t);
  sa[high] = limbs_add(sa, a + low, high, a, low);
  sb[high] = limbs_add(sb, b + low, high, b, low);
  mul_equal(L, product, sa, sb, sum, t);
  limbs_sub(product, product, 2 * sum, r, 2 * low);
  limbs_sub(product, product, 2 * sum, r + 2 * low, 2 * high);
  limbs_add(r + low, r + low, 2 * n - low, product,
            limbs_trim(product, 2 * sum));
}

static size_t mul_room (size_t an, size_t bn) {
  size_t room = equal_room(bn), rest = an % bn;
  if (bn < KARATSUBA) return 0;
  if (an == bn) return room;
  room += 2 * bn;
  if (rest > 0) {
    size_t last = bn + rest + mul_room(bn, rest);
    if (last > room) room = last;
  }
  return room;
}

/* an >= bn > 0, in 't' of 'mul_room(an, bn)'. */
static void mul_in_room (lua_State *L, Limb *r, const Limb *a, size_t an,
                         const Limb *b, size_t bn, Limb *t) {
  size_t i;
  if (bn < KARATSUBA) {
    mul_by_rows(L, r, a, an, b, bn);
    return;
  }
  mul_equal(L, r, a, b, bn, t);
  memset(r + 2 * bn, 0, (an - bn) * sizeof(Limb));
  for (i = bn; i < an; i += bn) { /* 'a' in pieces as long as 'b' */
    size_t piece = an - i < bn ? an - i : bn;
    Limb *further = t + bn + piece;
    if (piece == bn) mul_equal(L, t, a + i, b, bn, further);
    else mul_in_room(L, t, b, bn, a + i, piece, further);
    limbs_add(r + i, r + i, an + bn - i, t, limbs_trim(t, bn + piece));
  }
}

void limbs_mul (lua_State *L, Limb *r, const Limb *a, size_t an,
                const Limb *b, size_t bn) {
  if (an < bn) {
    const Limb *other = a;
    size_t n = an;
    a = b;
    an = bn;
    b = other;
    bn = n;
  }
  if (bn < KARATSUBA)
    mul_by_rows(L, r, a, an, b, bn);
  else {
    mul_in_room(L, r, a, an, b, bn, limbs_new(L, mul_room(an, bn)));
    lua_pop(L, 1);
  }
}

/* }== */

/* {== Division */

Limb limbs_div_limb (lua_State *L, Limb *q, const Limb *a, size_t n,
                     Limb divisor) {
  uint64_t t = 0;
  while (n > 0) {
    size_t end = n > BLOCK ? n - BLOCK : 0;
    limbs_work(L, 4 * (n - end));
    while (n > end) {
      n--;
      t = (t << LIMB_BITS) | a[n];
      q[n] = LOW(t / divisor);
      t %= divisor;
    }
  }
  return LOW(t);
}

/* r = a << bits, 0 <= bits < 32; the limb that follows. */
static Limb shift_up (Limb *r, const Limb *a, size_t n, unsigned bits) {
  uint64_t t = 0;
  size_t i;
  for (i = 0; i < n; i++) {
    t |= (uint64_t)a[i] << bits;
    r[i] = LOW(t);
    t >>= LIMB_BITS;
  }
  return LOW(t);
}

static void shift_down (Limb *r, const Limb *a, size_t n, unsigned bits) {
  size_t i;
  for (i = 0; i < n; i++) {
    uint64_t t = a[i] | (uint64_t)(i + 1 < n ? a[i + 1] : 0) << LIMB_BITS;
    r[i] = LOW(t >> bits);
  }
}

/* u -= v * q, where u is one limb longer; 1 when that was too much. */
static int subtract_row (lua_State *L, Limb *u, const Limb *v, size_t n,
                         Limb q) {
  uint64_t carry = 0; /* of the product, and the borrow */
  uint64_t last;
  size_t i = 0;
  while (i < n) {
    size_t end = n - i > BLOCK ? i + BLOCK : n;
    limbs_work(L, end - i);
    for (; i < end; i++) {
      uint64_t p = (uint64_t)v[i] * q + carry;
      uint64_t d = (uint64_t)u[i] - LOW(p);
      u[i] = LOW(d);
      carry = (p >> LIMB_BITS) + (d >> 63);
    }
  }
  last = (uint64_t)u[n] - carry;
  u[n] = LOW(last);
  return (int)(last >> 63);
}

/*
** Knuth, The Art of Computer Programming, volume 2, 4.3.1, algorithm D: 'u' has
** an + 1 limbs, the highest bit of 'v' is set. The remainder is left in 'u'.
*/
static void div_normalized (lua_State *L, Limb *q, Limb *u, size_t an,
                            const Limb *v, size_t bn) {
  size_t j = an - bn + 1;
  uint64_t high = v[bn - 1], next = v[bn - 2];
  while (j-- > 0) {
    Limb *at = u + j;
    uint64_t t = ((uint64_t)at[bn] << LIMB_BITS) | at[bn - 1];
    uint64_t guess = t / high, rest = t % high;
    while (guess > UINT32_MAX ||
           guess * next > ((rest << LIMB_BITS) | at[bn - 2])) {
      guess--;
      rest += high;
      if (rest > UINT32_MAX) break;
    }
    if (subtract_row(L, at, v, bn, LOW(guess))) {
      guess--;
      at[bn] += limbs_add(at, at, bn, v, bn);
    }
    q[j] = LOW(guess);
  }
}

void limbs_div (lua_State *L, Limb *q, Limb *r, const Limb *a, size_t an,
                const Limb *b, size_t bn) {
  Limb local[64];
  size_t room = an + 1 + bn;
  int small = room <= sizeof local / sizeof local[0];
  unsigned bits = (unsigned)__builtin_clz(b[bn - 1]);
  Limb *u, *v;
  if (bn == 1) {
    r[0] = limbs_div_limb(L, q, a, an, b[0]);
    return;
  }
  u = small ? local : limbs_new(L, room);
  v = u + an + 1;
  shift_up(v, b, bn, bits);
  u[an] = shift_up(u, a, an, bits);
  div_normalized(L, q, u, an, v, bn);
  shift_down(r, u, bn, bits);
  if (!small) lua_pop(L, 1);
}

/* }== */
