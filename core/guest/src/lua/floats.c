/*
** Floats as the platform would show them: %a, and the sign of a NaN.
*/
#include "lua.h"
#include "lauxlib.h"

#include <float.h>
#include <math.h>
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

int luacell_deterministic;

double luacell_checked_nan (lua_State *L, int arg) {
  double n = luaL_checknumber(L, arg);
  return luacell_same_nan(n);
}
