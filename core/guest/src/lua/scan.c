/*
** What Lua and the guest call instead of the C library's functions that scan
** memory (see luaconf_guest.h): these count what they scan, as copying counts,
** and take eight bytes at a time. The build's own pass leaves their loops
** alone.
*/
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define count(bytes)	luacell_count((size_t)(bytes) >> 6)

/* Or the compiler makes calls of the library's functions of them again. */
#define scanning	__attribute__((noinline, no_builtin))

#define ONES (~(uint64_t)0 / 255)

static uint64_t eight_at (const unsigned char *p) {
  uint64_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

static int has_zero (uint64_t v) { return ((v - ONES) & ~v & (ONES << 7)) != 0; }

scanning int luacell_memcmp (const void *a, const void *b, size_t n) {
  const unsigned char *p = a, *q = b;
  size_t i = 0;
  while (n - i >= 8 && eight_at(p + i) == eight_at(q + i)) i += 8;
  while (i < n && p[i] == q[i]) i++;
  count(i);
  return i == n ? 0 : p[i] - q[i];
}

scanning void *luacell_memchr (const void *s, int c, size_t n) {
  const unsigned char *p = s;
  uint64_t wanted = ONES * (unsigned char)c;
  size_t i = 0;
  while (n - i >= 8 && !has_zero(eight_at(p + i) ^ wanted)) i += 8;
  while (i < n && p[i] != (unsigned char)c) i++;
  count(i);
  return i == n ? NULL : (void *)(p + i);
}

scanning size_t luacell_strlen (const char *s) {
  const unsigned char *p = (const unsigned char *)s;
  size_t i = 0;
  /* aligned, a word with the end in it lies in memory as a whole */
  while (((uintptr_t)(p + i) & 7) != 0) {
    if (p[i] == 0) return i;
    i++;
  }
#ifndef luacell_native /* to a sanitizer it ends where the text does */
  while (!has_zero(eight_at(p + i))) i += 8;
#endif
  while (p[i] != 0) i++;
  count(i);
  return i;
}

scanning int luacell_strcmp (const char *a, const char *b) {
  const unsigned char *p = (const unsigned char *)a;
  const unsigned char *q = (const unsigned char *)b;
  size_t i = 0;
  while (p[i] == q[i] && p[i] != 0) i++;
  count(i);
  return p[i] - q[i];
}

/* 'set' is a short one of ASCII characters, as all in Lua are. */
scanning size_t luacell_strspn (const char *s, const char *set) {
  uint64_t members[2] = {0, 0};
  size_t i = 0;
  for (; *set != 0; set++)
    members[*set >> 6 & 1] |= (uint64_t)1 << (*set & 63);
  while ((unsigned char)s[i] < 128 && (members[s[i] >> 6] >> (s[i] & 63) & 1))
    i++;
  count(i);
  return i;
}
