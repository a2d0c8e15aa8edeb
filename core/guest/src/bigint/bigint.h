/*
** Arbitrary-precision integers: what their files know of each other. A number
** is its sign and its magnitude, 32 bits per limb, lowest limb first.
*/
#ifndef bigint_h
#define bigint_h

#include "limits/limits.h"

/* {== For others */

typedef struct Big Big;

/* The number in a value, NULL when it is none. */
const Big *big_of (const TValue *v);

/* The module, pushed. */
int bigint_open (lua_State *L);

/* A number as stores have it, and back. */
void big_push_decimal (lua_State *L, const TValue *v);
int big_push_stored (lua_State *L, const char *s, size_t len);

/* }== */

typedef uint32_t Limb;
#define LIMB_BITS 32u

/* 256 MiB; no count of bits overflows before that. */
#define MAX_LIMBS ((size_t)1 << 26)

/* The value in a userdata, never changed once a script can see it. */
struct Big {
  int negative; /* 0 for zero */
  unsigned n; /* limbs; the last one is not 0 */
  Limb d[];
};

/* Magnitude of a number, wherever it lies. */
typedef struct Magnitude {
  const Limb *d;
  size_t n;
} Magnitude;

/* {== arithmetic.c: magnitudes. Sizes are in limbs. */

/* Pushes room for limbs, which lives as long as it is on the stack. */
Limb *limbs_new (lua_State *L, size_t n);

/* Takes the work on so many limbs from the budget; may end the run. */
void limbs_work (lua_State *L, size_t n);

size_t limbs_trim (const Limb *a, size_t n);
size_t limbs_bits (const Limb *a, size_t n);
int limbs_compare (const Limb *a, size_t an, const Limb *b, size_t bn);

/* r = a + b, an >= bn, an limbs; the carry. 'r' may be 'a' or 'b'. */
Limb limbs_add (Limb *r, const Limb *a, size_t an, const Limb *b, size_t bn);

/* r = a - b, a >= b and an >= bn, an limbs. 'r' may be 'a' or 'b'. */
void limbs_sub (Limb *r, const Limb *a, size_t an, const Limb *b, size_t bn);

/* r = a * factor + carry in n limbs; the limb that follows. 'r' may be 'a'. */
Limb limbs_scale (lua_State *L, Limb *r, const Limb *a, size_t n, Limb factor,
                  Limb carry);

/* r = a * b, an + bn limbs; 'r' must be apart. */
void limbs_mul (lua_State *L, Limb *r, const Limb *a, size_t an,
                const Limb *b, size_t bn);

/* q = a / divisor in n limbs; the remainder. 'q' may be 'a'. */
Limb limbs_div_limb (lua_State *L, Limb *q, const Limb *a, size_t n,
                     Limb divisor);

/*
** q = a / b in an - bn + 1 limbs, r = a % b in bn limbs; an >= bn, the highest
** limb of b is not 0. 'q' and 'r' must be apart.
*/
void limbs_div (lua_State *L, Limb *q, Limb *r, const Limb *a, size_t an,
                const Limb *b, size_t bn);

/* }== */

/* {== number.c */

/* Pushes a number with room for n limbs, to be filled and then finished. */
Big *big_new (lua_State *L, size_t n);

/* Brings the number at the top of the stack into its final form. */
void big_finish (lua_State *L, int negative);

/* }== */

/* {== text.c */

/* Pushes the digits, lowercase, with '-' in front of a negative number. */
void big_push_text (lua_State *L, Magnitude m, int negative, unsigned base);

/*
** Pushes the number that these digits mean, at least one; 0 and nothing
** pushed when one of them is no digit.
*/
int big_push_digits (lua_State *L, const char *s, size_t len, int negative,
                     unsigned base);

/* }== */

#endif
