/*
** Floats as the platform would read and show them: decimal numerals, %a, and
** the sign of a NaN.
*/
#include "lua.h"
#include "lauxlib.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/*
** printf's %a as glibc writes it: a subnormal number begins with a 0 and has
** the smallest exponent of normal ones, where musl shifts its digits.
*/
int luacell_hex_float (char *to, size_t room, const char *format, double n) {
  char *digit;
  int len;
  if (fpclassify(n) != FP_SUBNORMAL) return snprintf(to, room, format, n);
  /* The same digits behind a 1, which is taken off again. */
  len = snprintf(to, room, format, n + copysign(DBL_MIN, n));
  digit = strpbrk(to, "xX");
  if (digit != NULL && (digit = strpbrk(digit, "12")) != NULL) --*digit;
  return len;
}

/* Of the library: see libc_numbers.h. */
double luacell_strtod (const char *restrict s, char **restrict end);

#define DIGITS_MAX	19 /* that 64 bits hold */
#define EXACT_MAX	((uint64_t)1 << 53)

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define POWER_MAX	22

/*
** The usual numeral is an integer times or by a power of ten, both of them exact
** as doubles: one operation rounds it right. The library has the others.
*/
double luacell_decimal (const char *s, char **end) {
  const char *p = s + (*s == '-');
  uint64_t digits = 0;
  int n = 0, places = 0, exponent = 0, point = 0;
  double result;
  for (;; p++) {
    unsigned digit = (unsigned)(unsigned char)*p - '0';
    if (digit <= 9) {
      if (++n > DIGITS_MAX) return luacell_strtod(s, end);
      digits = digits * 10 + digit;
      places += point;
    }
    else if (*p == '.' && !point) point = 1;
    else break;
  }
  if (n == 0 || digits > EXACT_MAX) return luacell_strtod(s, end);
  if (*p == 'e' || *p == 'E') {
    int minus = p[1] == '-';
    p += 1 + (minus || p[1] == '+');
    if (*p < '0' || *p > '9' || (p[1] >= '0' && p[1] <= '9' && p[2] >= '0'))
      return luacell_strtod(s, end);
    exponent = *p++ - '0';
    if (*p >= '0' && *p <= '9') exponent = exponent * 10 + (*p++ - '0');
    if (minus) exponent = -exponent;
  }
  exponent -= places;
  if (exponent > POWER_MAX || exponent < -POWER_MAX)
    return luacell_strtod(s, end);
  *end = (char *)p;
  result = (double)digits;
  if (exponent < 0) result /= powers[-exponent];
  else result *= powers[exponent];
  return *s == '-' ? -result : result;
}

int luacell_deterministic;

double luacell_checked_nan (lua_State *L, int arg) {
  double n = luaL_checknumber(L, arg);
  return luacell_same_nan(n);
}
