/*
** The module "bigint": arbitrary-precision integers for scripts. A number is a
** userdata that never changes. What a function takes as a number is described
** in docs/API_REFERENCE.md.
*/
#include "bigint/bigint.h"

#include <math.h>

/* {== Arguments */

#define EXPECTED "bigint or integer"

/* An argument: a number of ours, or an integer that lies in 'own'. */
typedef struct Number {
  Magnitude m;
  int negative;
  Limb own[2];
} Number;

static void from_big (Number *x, const Big *b) {
  x->m.d = b->d;
  x->m.n = b->n;
  x->negative = b->negative;
}

static void from_integer (Number *x, lua_Integer i) {
  lua_Unsigned u = i < 0 ? 0u - l_castS2U(i) : l_castS2U(i);
  x->own[0] = (Limb)u;
  x->own[1] = (Limb)(u >> LIMB_BITS);
  x->m.d = x->own;
  x->m.n = limbs_trim(x->own, 2);
  x->negative = i < 0;
}

/* Pushes an integral float that no Lua integer holds. */
static void push_float (lua_State *L, lua_Number f) {
  int exponent;
  uint64_t bits = (uint64_t)ldexp(frexp(fabs(f), &exponent), 53);
  size_t shift = (size_t)exponent - 53; /* at least 10 */
  size_t at = shift / LIMB_BITS;
  unsigned by = shift % LIMB_BITS;
  Big *b = big_new(L, at + 3);
  memset(b->d, 0, (at + 3) * sizeof(Limb));
  b->d[at] = (Limb)(bits << by);
  b->d[at + 1] = (Limb)(bits >> 1 >> (LIMB_BITS - 1 - by));
  b->d[at + 2] = (Limb)(bits >> 32 >> 1 >> (LIMB_BITS - 1 - by));
  big_finish(L, f < 0);
}

/* Pushes what a string means; 0 and nothing pushed when it is no number. */
static int push_string_number (lua_State *L, int arg, unsigned base) {
  size_t len;
  const char *s = lua_tolstring(L, arg, &len);
  int negative = 0;
  while (len > 0 && lisspace((byte)*s)) s++, len--;
  while (len > 0 && lisspace((byte)s[len - 1])) len--;
  if (len > 0 && (*s == '-' || *s == '+')) {
    negative = *s == '-';
    s++, len--;
  }
  return big_push_digits(L, s, len, negative, base);
}

static void no_digits (lua_State *L, int arg, unsigned base) {
  const char *s = lua_tostring(L, arg);
  if (strlen(s) > 40) s = lua_pushfstring(L, "%s...", lua_pushlstring(L, s, 40));
  luaL_argerror(L, arg, lua_pushfstring(L, "'%s' is no integer in base %d", s,
                                        (int)base));
}

/* Reads a number; one that must be made first is pushed. */
static void to_number (lua_State *L, int arg, int strings, Number *x) {
  switch (lua_type(L, arg)) {
    case LUA_TNUMBER: {
      lua_Number f;
      lua_Integer i;
      int exact;
      i = lua_tointegerx(L, arg, &exact);
      if (exact) {
        from_integer(x, i);
        return;
      }
      f = lua_tonumber(L, arg);
      if (f != floor(f) || isinf(f))
        luaL_argerror(L, arg, "number has no integer representation");
      push_float(L, f);
      from_big(x, big_of(s2v(L->top.p - 1)));
      return;
    }
    case LUA_TSTRING:
      if (!strings) break;
      if (!push_string_number(L, arg, 10)) no_digits(L, arg, 10);
      from_big(x, big_of(s2v(L->top.p - 1)));
      return;
    case LUA_TUSERDATA: {
      const Big *b = big_of(s2v(L->ci->func.p + arg));
      if (b == NULL) break;
      from_big(x, b);
      return;
    }
    default: break;
  }
  luaL_typeerror(L, arg, EXPECTED);
}

/* So that what 'to_number' pushes does not look like an argument. */
static void check_count (lua_State *L, int n) {
  int given = lua_gettop(L);
  if (given < n) luaL_typeerror(L, given + 1, EXPECTED);
}

static void operands (lua_State *L, Number *a, Number *b) {
  check_count(L, 2);
  to_number(L, 1, 1, a);
  to_number(L, 2, 1, b);
}

/* Those of a comparison, which turns no strings into numbers, as in Lua. */
static int compare (lua_State *L) {
  Number a, b;
  int sign;
  check_count(L, 2);
  to_number(L, 1, 0, &a);
  to_number(L, 2, 0, &b);
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  sign = limbs_compare(a.m.d, a.m.n, b.m.d, b.m.n);
  return a.negative ? -sign : sign;
}

/* }== */

/* {== Arithmetic */

static void push_copy (lua_State *L, Magnitude m, int negative) {
  Big *b = big_new(L, m.n);
  if (m.n > 0) memcpy(b->d, m.d, m.n * sizeof(Limb));
  big_finish(L, negative);
}

/* The number itself, when it is one of ours already. */
static int push_same (lua_State *L, int arg, const Number *x) {
  if (big_of(s2v(L->ci->func.p + arg)) != NULL) lua_pushvalue(L, arg);
  else push_copy(L, x->m, x->negative);
  return 1;
}

static int push_sum (lua_State *L, const Number *a, const Number *b,
                     int b_negative) {
  Big *r;
  int negative = a->negative;
  int order = limbs_compare(a->m.d, a->m.n, b->m.d, b->m.n);
  Magnitude large = order < 0 ? b->m : a->m, small = order < 0 ? a->m : b->m;
  limbs_work(L, large.n);
  r = big_new(L, large.n + 1);
  if (a->negative == b_negative)
    r->d[large.n] = limbs_add(r->d, large.d, large.n, small.d, small.n);
  else {
    limbs_sub(r->d, large.d, large.n, small.d, small.n);
    r->d[large.n] = 0;
    if (order < 0) negative = b_negative;
  }
  big_finish(L, negative);
  return 1;
}

static int big_add (lua_State *L) {
  Number a, b;
  operands(L, &a, &b);
  return push_sum(L, &a, &b, b.negative);
}

static int big_sub (lua_State *L) {
  Number a, b;
  operands(L, &a, &b);
  return push_sum(L, &a, &b, !b.negative);
}

static int big_mul (lua_State *L) {
  Number a, b;
  Big *r;
  operands(L, &a, &b);
  r = big_new(L, a.m.n + b.m.n);
  limbs_mul(L, r->d, a.m.d, a.m.n, b.m.d, b.m.n);
  big_finish(L, a.negative != b.negative);
  return 1;
}

/* Pushes the truncated quotient and, above it, the remainder. */
static void push_division (lua_State *L, const Number *a, const Number *b) {
  Big *q, *r;
  Magnitude zero = {NULL, 0};
  if (b->m.n == 0) luaL_error(L, "division by zero");
  if (a->m.n < b->m.n) {
    push_copy(L, zero, 0);
    push_copy(L, a->m, a->negative);
    return;
  }
  q = big_new(L, a->m.n - b->m.n + 1);
  r = big_new(L, b->m.n);
  limbs_div(L, q->d, r->d, a->m.d, a->m.n, b->m.d, b->m.n);
  big_finish(L, a->negative);
  lua_insert(L, -2);
  big_finish(L, a->negative != b->negative);
  lua_insert(L, -2);
}

static int big_div (lua_State *L) {
  Number a, b;
  operands(L, &a, &b);
  push_division(L, &a, &b);
  lua_pop(L, 1);
  return 1;
}

static int big_mod (lua_State *L) {
  Number a, b;
  operands(L, &a, &b);
  push_division(L, &a, &b);
  return 1;
}

static int big_divmod (lua_State *L) {
  Number a, b;
  operands(L, &a, &b);
  push_division(L, &a, &b);
  return 2;
}

/*
** What raising to a power works with: the result so far is in one of two
** rooms. Without a modulus that one is empty.
*/
typedef struct Power {
  Magnitude result;
  Limb *room[2];
  int which; /* room to use next */
  Magnitude modulus;
  Limb *quotient, *rest;
} Power;

static void power_mul (lua_State *L, Power *p, Magnitude by) {
  Magnitude *r = &p->result;
  Limb *to = p->room[p->which];
  limbs_mul(L, to, r->d, r->n, by.d, by.n);
  r->n = limbs_trim(to, r->n + by.n);
  r->d = to;
  p->which = !p->which;
  if (p->modulus.n == 0 || r->n < p->modulus.n) return;
  limbs_div(L, p->quotient, p->rest, r->d, r->n, p->modulus.d, p->modulus.n);
  r->n = limbs_trim(p->rest, p->modulus.n);
  memcpy(to, p->rest, r->n * sizeof(Limb));
}

/* By squaring, from the highest bit of the exponent, which is not 0, down. */
static void power (lua_State *L, Power *p, Magnitude base,
                   Magnitude exponent) {
  size_t bit = limbs_bits(exponent.d, exponent.n) - 1;
  p->result = base;
  while (bit-- > 0) {
    power_mul(L, p, p->result);
    if (exponent.d[bit / LIMB_BITS] >> bit % LIMB_BITS & 1)
      power_mul(L, p, base);
  }
}

static int is_one (Magnitude m) { return m.n == 1 && m.d[0] == 1; }
static int is_odd (Magnitude m) { return m.n > 0 && (m.d[0] & 1) != 0; }

static int big_pow (lua_State *L) {
  static const Limb one = 1;
  Number a, b;
  Magnitude unit = {&one, 1};
  Power p;
  size_t bits, n;
  operands(L, &a, &b);
  if (b.negative) luaL_error(L, "negative exponent");
  if (b.m.n == 0) {
    push_copy(L, unit, 0);
    return 1;
  }
  if (a.m.n == 0 || is_one(a.m)) {
    push_copy(L, a.m, a.negative && is_odd(b.m));
    return 1;
  }
  bits = limbs_bits(a.m.d, a.m.n);
  if (b.m.n > 1 || (uint64_t)(bits - 1) * b.m.d[0] > MAX_LIMBS * LIMB_BITS)
    luacell_memory_error(L);
  n = (size_t)((uint64_t)bits * b.m.d[0] / LIMB_BITS) + 2;
  memset(&p, 0, sizeof p);
  p.room[0] = limbs_new(L, n);
  p.room[1] = limbs_new(L, n);
  power(L, &p, a.m, b.m);
  push_copy(L, p.result, a.negative && is_odd(b.m));
  return 1;
}

/* (a ^ b) % c without the large power. */
static int big_powmod (lua_State *L) {
  static const Limb one = 1;
  Number a, b, c;
  Magnitude unit = {&one, 1};
  Power p;
  size_t n;
  check_count(L, 3);
  to_number(L, 1, 1, &a);
  to_number(L, 2, 1, &b);
  to_number(L, 3, 1, &c);
  if (b.negative) luaL_error(L, "negative exponent");
  if (c.m.n == 0) luaL_error(L, "division by zero");
  if (is_one(c.m)) unit.n = 0;
  if (b.m.n == 0) {
    push_copy(L, unit, 0);
    return 1;
  }
  n = c.m.n;
  memset(&p, 0, sizeof p);
  p.modulus = c.m;
  if (a.m.n >= n) {
    Limb *base = limbs_new(L, n);
    limbs_div(L, limbs_new(L, a.m.n - n + 1), base, a.m.d, a.m.n, c.m.d, n);
    a.m.n = limbs_trim(base, n);
    a.m.d = base;
  }
  p.room[0] = limbs_new(L, 6 * n + 1);
  p.room[1] = p.room[0] + 2 * n;
  p.rest = p.room[1] + 2 * n;
  p.quotient = p.rest + n; /* of a product that is not longer than 2 * n */
  power(L, &p, a.m, b.m);
  push_copy(L, p.result, a.negative && is_odd(b.m));
  return 1;
}

static int big_neg (lua_State *L) {
  Number a;
  check_count(L, 1);
  to_number(L, 1, 1, &a);
  push_copy(L, a.m, !a.negative);
  return 1;
}

static int big_abs (lua_State *L) {
  Number a;
  check_count(L, 1);
  to_number(L, 1, 1, &a);
  if (!a.negative) return push_same(L, 1, &a);
  push_copy(L, a.m, 0);
  return 1;
}

/* Euclid's way; never negative. */
static int big_gcd (lua_State *L) {
  Number a, b;
  Magnitude x, y;
  Limb *room[3], *quotient;
  int i, less, next = 0;
  operands(L, &a, &b);
  less = limbs_compare(a.m.d, a.m.n, b.m.d, b.m.n) < 0;
  x = less ? b.m : a.m;
  y = less ? a.m : b.m;
  for (i = 0; i < 3; i++) room[i] = limbs_new(L, y.n);
  quotient = limbs_new(L, x.n);
  while (y.n > 0) {
    Limb *r = room[next];
    next = (next + 1) % 3;
    limbs_div(L, quotient, r, x.d, x.n, y.d, y.n);
    x = y;
    y.n = limbs_trim(r, y.n);
    y.d = r;
  }
  push_copy(L, x, 0);
  return 1;
}

/* The integer part of the square root, by Newton's way from above. */
static int big_sqrt (lua_State *L) {
  Number a;
  Magnitude x;
  Limb *room[2], *quotient, *rest;
  size_t bits, n;
  int which = 0;
  check_count(L, 1);
  to_number(L, 1, 1, &a);
  if (a.negative) luaL_argerror(L, 1, "negative number");
  if (a.m.n == 0 || is_one(a.m)) return push_same(L, 1, &a);
  bits = (limbs_bits(a.m.d, a.m.n) + 1) / 2; /* 2^bits is more than the root */
  n = bits / LIMB_BITS + 1;
  room[0] = limbs_new(L, n + 1);
  room[1] = limbs_new(L, n + 1);
  rest = limbs_new(L, n);
  quotient = limbs_new(L, a.m.n + 1);
  memset(room[0], 0, n * sizeof(Limb));
  room[0][bits / LIMB_BITS] = (Limb)1 << bits % LIMB_BITS;
  x.d = room[0];
  x.n = n;
  for (;;) { /* x = (x + a / x) / 2, as long as that is less */
    Limb *next = room[!which];
    size_t qn = a.m.n - x.n + 1, i;
    limbs_div(L, quotient, rest, a.m.d, a.m.n, x.d, x.n);
    qn = limbs_trim(quotient, qn);
    if (limbs_compare(quotient, qn, x.d, x.n) >= 0) break;
    next[x.n] = limbs_add(next, x.d, x.n, quotient, qn);
    for (i = 0; i < x.n; i++)
      next[i] = next[i] >> 1 | next[i + 1] << (LIMB_BITS - 1);
    which = !which;
    x.d = next;
    x.n = limbs_trim(next, x.n);
  }
  push_copy(L, x, 0);
  return 1;
}

/* }== */

/* {== Comparison and conversion */

static int big_cmp (lua_State *L) {
  lua_pushinteger(L, compare(L));
  return 1;
}

static int big_eq (lua_State *L) {
  lua_pushboolean(L, compare(L) == 0);
  return 1;
}

static int big_lt (lua_State *L) {
  lua_pushboolean(L, compare(L) < 0);
  return 1;
}

static int big_le (lua_State *L) {
  lua_pushboolean(L, compare(L) <= 0);
  return 1;
}

static unsigned check_base (lua_State *L, int arg) {
  lua_Integer base = luaL_optinteger(L, arg, 10);
  luaL_argcheck(L, 2 <= base && base <= 36, arg, "base out of range");
  return (unsigned)base;
}

static int big_make (lua_State *L) {
  Number x;
  unsigned base;
  if (lua_isnoneornil(L, 2) && lua_type(L, 1) != LUA_TSTRING) {
    check_count(L, 1);
    to_number(L, 1, 1, &x);
    return push_same(L, 1, &x);
  }
  luaL_checktype(L, 1, LUA_TSTRING); /* a base is for digits */
  base = check_base(L, 2);
  if (!push_string_number(L, 1, base)) no_digits(L, 1, base);
  return 1;
}

static int big_is (lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, big_of(s2v(L->ci->func.p + 1)) != NULL);
  return 1;
}

static int big_tostring (lua_State *L) {
  Number x;
  unsigned base = check_base(L, 2);
  check_count(L, 1);
  to_number(L, 1, 1, &x);
  big_push_text(L, x.m, x.negative, base);
  return 1;
}

/* As a metamethod it has no second argument that would mean a base. */
static int meta_tostring (lua_State *L) {
  lua_settop(L, 1);
  return big_tostring(L);
}

static int fits_integer (const Number *x, lua_Integer *i) {
  lua_Unsigned u = 0;
  if (x->m.n > 2) return 0;
  if (x->m.n > 0) u = x->m.d[0];
  if (x->m.n > 1) u |= (lua_Unsigned)x->m.d[1] << LIMB_BITS;
  if (u > (lua_Unsigned)LUA_MAXINTEGER + (lua_Unsigned)x->negative) return 0;
  *i = l_castU2S(x->negative ? 0u - u : u);
  return 1;
}

static int big_tointeger (lua_State *L) {
  Number x;
  lua_Integer i;
  check_count(L, 1);
  to_number(L, 1, 1, &x);
  if (fits_integer(&x, &i)) lua_pushinteger(L, i);
  else luaL_pushfail(L);
  return 1;
}

/* The very same number as a float; 0 when there is none. */
static int fits_float (const Number *x, lua_Number *f) {
  size_t bits = limbs_bits(x->m.d, x->m.n), i;
  lua_Number sum = 0;
  if (bits > 1024) return 0;
  for (i = 0; i < x->m.n; i++) {
    lua_Number before = sum, part = ldexp(x->m.d[i], (int)(i * LIMB_BITS));
    sum += part;
    if (sum - part != before) return 0; /* it was rounded */
  }
  *f = x->negative ? -sum : sum;
  return 1;
}

static int big_tonumber (lua_State *L) {
  Number x;
  lua_Integer i;
  lua_Number f;
  check_count(L, 1);
  to_number(L, 1, 1, &x);
  if (fits_integer(&x, &i)) lua_pushinteger(L, i);
  else if (fits_float(&x, &f)) lua_pushnumber(L, f);
  else luaL_pushfail(L);
  return 1;
}

static void replace_by_text (lua_State *L, int arg) {
  const TValue *v = s2v(L->ci->func.p + arg);
  if (big_of(v) != NULL) {
    big_push_decimal(L, v);
    lua_replace(L, arg);
  }
  else if (!lua_isstring(L, arg))
    luaL_error(L, "attempt to concatenate a %s value",
               luaL_typename(L, arg));
}

static int big_concat (lua_State *L) {
  replace_by_text(L, 1);
  replace_by_text(L, 2);
  lua_concat(L, 2);
  return 1;
}

/* }== */

static const luaL_Reg functions[] = {
  {"new", big_make},
  {"add", big_add},
  {"sub", big_sub},
  {"mul", big_mul},
  {"div", big_div},
  {"mod", big_mod},
  {"divmod", big_divmod},
  {"pow", big_pow},
  {"powmod", big_powmod},
  {"neg", big_neg},
  {"abs", big_abs},
  {"gcd", big_gcd},
  {"sqrt", big_sqrt},
  {"cmp", big_cmp},
  {"eq", big_eq},
  {"lt", big_lt},
  {"le", big_le},
  {"isbigint", big_is},
  {"tostring", big_tostring},
  {"tointeger", big_tointeger},
  {"tonumber", big_tonumber},
  {NULL, NULL}
};

static const luaL_Reg metamethods[] = {
  {"__add", big_add},
  {"__sub", big_sub},
  {"__mul", big_mul},
  {"__div", big_div},
  {"__idiv", big_div},
  {"__mod", big_mod},
  {"__pow", big_pow},
  {"__unm", big_neg},
  {"__eq", big_eq},
  {"__lt", big_lt},
  {"__le", big_le},
  {"__tostring", meta_tostring},
  {"__concat", big_concat},
  {NULL, NULL}
};

/*
** Pushes the module. It is made when the guest starts, so that stored numbers
** are numbers even where nobody has required it.
*/
int bigint_open (lua_State *L) {
  luaL_newlib(L, functions);
  guest.bigint_meta = table_new_anchored(L, NULL);
  sethvalue2s(L, L->top.p, guest.bigint_meta);
  api_incr_top(L);
  luaL_setfuncs(L, metamethods, 0);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "bigint");
  lua_setfield(L, -2, "__name");
  lua_pushliteral(L, "bigint"); /* scripts can't change it */
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  return 1;
}
