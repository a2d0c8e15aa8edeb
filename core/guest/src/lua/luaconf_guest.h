/*
** Settings of the guest that Lua takes as macros. Included before everything
** else in every file, Lua's own ones too, so it includes nothing that a
** feature macro could change.
*/
#ifndef luaconf_guest_h
#define luaconf_guest_h

#include <stddef.h>

struct lua_State;

/* As PUC's own makefile builds it. */
#define LUA_COMPAT_5_3

/*
** Errors. The build lowers both to ordinary returns: see xtask/src/guest/lower.rs.
*/
__attribute__((import_module("env"), import_name("luacell_throw"), noreturn))
void luacell_throw (void);
void luacell_try (void (*f) (struct lua_State *, void *), struct lua_State *L,
                  void *ud);
#define LUAI_THROW(L,c)		luacell_throw()
#define LUAI_TRY(L,c,a)		luacell_try(f, L, ud);
#define luai_jmpbuf		char  /* not used */

/* No signals here. */
#define l_signalT		int

/* A switch becomes a jump table; wasm has no computed jumps. */
#define LUA_USE_JUMPTABLE	0

/* The guest has a 'print' of its own; warnings and panics go nowhere. */
#define lua_writestring(s,l)		((void)(s), (void)(l))
#define lua_writeline()			((void)0)
#define lua_writestringerror(s,p)	((void)(s), (void)(p))

/* One locale, "C". */
#define lua_getlocaledecpoint()		'.'

/* Randomness comes from the host. */
unsigned int luacell_hash_seed (void);
void luacell_random_seed (unsigned long long seed[2]);
void luacell_settle_random (struct lua_State *L);
#define luai_makeseed(L)		luacell_hash_seed()

/* The thread that runs now: see patch 30. */
extern struct lua_State *luacell_running;

/* Lua's allocator: see patch 34. */
void *luacell_lua_alloc (void *ud, void *ptr, size_t osize, size_t nsize);

/* Time comes from the host too, and is UTC. */
#define l_gmtime(t,r)		gmtime_r(t,r)
#define l_localtime(t,r)	gmtime_r(t,r)
double luacell_cpu_seconds (struct lua_State *L);
long long luacell_wall_seconds (struct lua_State *L);

/* 'strtod' for decimal numerals: see floats.c and patch 13. */
double luacell_decimal (const char *s, char **end);

/* 'error' and 'coroutine.wrap': see error.c and patch 16. */
void luacell_concat_error (struct lua_State *L);

/* 'luaL_checkstack': see error.c and patch 17. */
void luacell_no_stack (struct lua_State *L, int space);

/* 'string.format' of %a: see floats.c and patch 15. */
int luacell_hex_float (char *to, size_t room, const char *format, double n);

/* Metering: see budget.c. 64 bits, so that no amount of work wraps it. */
extern long long luacell_budget;
void luacell_budget_spent (struct lua_State *L);
void luacell_not_refused (struct lua_State *L);
#ifdef luacell_unmetered  /* only to measure what metering costs */
#define luacell_budget		(*(long long[1]){1 << 30})
#endif
#define luacell_count(n)	(luacell_budget -= (long long)(n))
/* Where the run may end: before work that can take long. */
#define luacell_look(L)	\
	(__builtin_expect(luacell_budget < 0, 0) ? luacell_budget_spent(L) : (void)0)
/* Long chains of a hash table count, the usual short ones don't pay. */
#define luacell_chain(links)	\
	((++(links) & 15) == 0 ? (void)luacell_count(16) : (void)0)

/* They count: see scan.c. */
#define memcmp	luacell_memcmp
#define memchr	luacell_memchr
#define strcmp	luacell_strcmp
#define strlen	luacell_strlen
#define strspn	luacell_strspn

/* In deterministic mode one NaN for all: see patch 14. */
extern int luacell_deterministic;
#define luacell_same_nan(n)	\
	(luacell_deterministic && (n) != (n) ? __builtin_nan("") : (n))
double luacell_checked_nan (struct lua_State *L, int arg);

/* 'table.sort' takes the middle: the same work each time. */
#define l_randomizePivot()		0u

#endif
