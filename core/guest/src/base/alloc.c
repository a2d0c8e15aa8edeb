/*
** Memory: Lua's allocator and the guest's own buffers, counted together
** against one limit.
**
** Lua allocates and frees small objects all the time and always knows their
** size. So small sizes come from slabs of one size each; a slab that is empty goes back to
** malloc, and nothing is lost to a size that is not needed any more.
**
** The first of them all lie side by side: a slab for each size would be
** mostly empty, and a host that has thousands of instances would have all
** these pages in memory for each.
*/
#include "luacell.h"

#include <malloc.h>
#include <stdlib.h>

#define SLAB_SIZE 4096u
#define MALLOC_HEADER 8u /* so slabs lie side by side without gaps */
#define GRAIN 8u
#define MAX_SMALL 720u /* a coroutine's first stack, which so needs no page of malloc's */
#define CLASSES (MAX_SMALL / GRAIN + 1)

/* malloc's own arithmetic, and sbrk's, fail near 2 GiB. */
#define MAX_BLOCK (((size_t)1 << 31) - ((size_t)1 << 20))

typedef struct Slab {
  struct Slab *next, *prev; /* among those of its size with room */
  void *free; /* list of freed places */
  byte *fresh; /* from here on never used */
  unsigned room, total; /* places left, places in all */
  unsigned class;
  unsigned padding; /* keeps the places aligned */
} Slab;

_Static_assert(sizeof(Slab) % GRAIN == 0, "places must be aligned");

#define SLAB_ROOM (SLAB_SIZE - MALLOC_HEADER - sizeof(Slab))

/*
** Pieces that are free but of no use, and what 'realloc' has twice while it
** copies, are memory of the host too. So the instance takes at most this.
*/
#define MOST_TAKEN(limit) \
  ((uint64_t)(limit) * 2 + TAKEN_BEYOND_TWICE_THE_LIMIT)

#define TELLING_MEMORY ((size_t)16 << 10)

/* What Lua's start takes, and two pages for a first small script. */
#define EARLY_SIZE (54u * 1024u)

static _Alignas(16) byte early[EARLY_SIZE];
static byte *early_end = early; /* of what was given out */
static void *early_free[CLASSES]; /* lists of freed small places */
static int starting = 1; /* large objects come from there too */

static Slab *with_room[CLASSES];
static size_t in_use;
static size_t peak; /* of this run */
static size_t limit; /* 0: none */
static int starved; /* was anything refused? */
static size_t reserve; /* what may be taken beyond the limit */

static unsigned class_of (size_t n) {
  return (unsigned)((n + GRAIN - 1) / GRAIN);
}

static void link_slab (Slab *s) {
  Slab *first = with_room[s->class];
  s->prev = NULL;
  s->next = first;
  if (first != NULL) first->prev = s;
  with_room[s->class] = s;
}

static void unlink_slab (Slab *s) {
  if (s->prev != NULL) s->prev->next = s->next;
  else with_room[s->class] = s->next;
  if (s->next != NULL) s->next->prev = s->prev;
}

static Slab *new_slab (unsigned class) {
  Slab *s;
  void *p;
  if (posix_memalign(&p, SLAB_SIZE, SLAB_SIZE - MALLOC_HEADER) != 0)
    return NULL;
  s = p;
  s->free = NULL;
  s->fresh = (byte *)(s + 1);
  s->room = s->total = (unsigned)SLAB_ROOM / (class * GRAIN);
  s->class = class;
  link_slab(s);
  return s;
}

static int is_early (const void *p) {
  return (uintptr_t)p - (uintptr_t)early < EARLY_SIZE;
}

static void *early_alloc (size_t n) {
  size_t size = class_of(n) * GRAIN;
  void *p = early_end;
  if ((size_t)(early + EARLY_SIZE - early_end) < size) return NULL;
  early_end += size;
  return p;
}

static void *early_small (unsigned class) {
  void *p = early_free[class];
  if (p == NULL) return early_alloc(class * GRAIN);
  early_free[class] = *(void **)p;
  return p;
}

static void *small_alloc (unsigned class) {
  Slab *s = with_room[class];
  void *p;
  if (l_unlikely(s == NULL)) {
    p = early_small(class);
    if (p != NULL) return p;
    s = new_slab(class);
    if (s == NULL) return NULL;
  }
  p = s->free;
  if (p != NULL)
    s->free = *(void **)p;
  else {
    p = s->fresh;
    s->fresh += class * GRAIN;
  }
  if (l_unlikely(--s->room == 0)) unlink_slab(s);
  return p;
}

static void small_free (void *p, unsigned class) {
  Slab *s = (Slab *)((uintptr_t)p & ~(uintptr_t)(SLAB_SIZE - 1));
  if (l_unlikely(is_early(p))) {
    *(void **)p = early_free[class];
    early_free[class] = p;
    return;
  }
  if (l_unlikely(s->room == 0)) link_slab(s);
  *(void **)p = s->free;
  s->free = p;
  /* one empty slab stays, or a lone object would make and free one each time */
  if (l_unlikely(++s->room == s->total) &&
      (s->next != NULL || s->prev != NULL)) {
    unlink_slab(s);
    free(s);
  }
}

static void *large_alloc (size_t n) {
  void *p = starting ? early_alloc(n) : NULL;
  return p != NULL ? p : malloc(n);
}

/* A large one among the first is lost: there are few, and they stay. */
static void large_free (void *p) {
  if (!is_early(p)) free(p);
}

static void *resize (void *ptr, size_t osize, size_t nsize) {
  void *result;
  if (osize > MAX_SMALL && nsize > MAX_SMALL && !is_early(ptr))
    return realloc(ptr, nsize);
  if (ptr != NULL && osize <= MAX_SMALL && class_of(osize) == class_of(nsize))
    return ptr;
  result = nsize <= MAX_SMALL ? small_alloc(class_of(nsize))
                              : large_alloc(nsize);
  if (ptr == NULL || result == NULL) return result;
  memcpy(result, ptr, osize < nsize ? osize : nsize);
  if (osize <= MAX_SMALL) small_free(ptr, class_of(osize));
  else large_free(ptr);
  return result;
}

static void *refuse (void) {
  starved = 1;
  return NULL;
}

/* Was there too little since this was asked last? */
int luacell_was_starved (void) {
  int was = starved;
  starved = 0;
  return was;
}

void *luacell_realloc (void *ptr, size_t osize, size_t nsize) {
  void *result;
  if (ptr == NULL || osize == 0) {
    ptr = NULL;
    osize = 0;
  }
  if (nsize == 0) {
    if (ptr == NULL) return NULL;
    if (osize <= MAX_SMALL) small_free(ptr, class_of(osize));
    else large_free(ptr);
    in_use -= osize;
    return NULL;
  }
  if (nsize > MAX_BLOCK) return NULL;
  if (nsize > osize && limit != 0) {
    size_t growth = nsize - osize;
    size_t most = limit > SIZE_MAX - reserve ? SIZE_MAX : limit + reserve;
    if (in_use >= most || growth > most - in_use) return refuse();
  }
  result = resize(ptr, osize, nsize);
  if (l_unlikely(result == NULL)) return refuse();
  in_use += nsize - osize;
  if (in_use > peak) peak = in_use;
  return result;
}

/*
** The Lua that is there from the start is complete. What it let go of lies
** scattered among what stays: an instance that filled these gaps would write
** to a page for each, which all instances share until then.
*/
void luacell_started (void) {
  memset(early_free, 0, sizeof early_free);
  starting = 0;
}

size_t luacell_bytes_in_use (void) { return in_use; }

size_t luacell_peak_bytes (void) { return peak; }

void luacell_begin_peak (void) { peak = in_use; }

void luacell_set_limit (size_t bytes) { limit = bytes; }

/* While a limit is told of, there is memory for that in any case. */
void luacell_reserve (int flag) { reserve = flag ? TELLING_MEMORY : 0; }

/*
** An empty buffer stays for the next use, but all of them together are not to
** take a noticeable part of what a run may have.
*/
size_t luacell_buffer_kept (void) {
  size_t most = limit / 256;
  return limit == 0 || most > BUFFER_SIZE ? BUFFER_SIZE : most;
}

int luacell_may_take (size_t bytes) {
  return limit == 0 || bytes <= MOST_TAKEN(limit);
}

/* For a new object Lua passes its type as 'osize', which is no size. */
void *luacell_lua_alloc (void *ud, void *ptr, size_t osize, size_t nsize) {
  (void)ud;
  return luacell_realloc(ptr, ptr == NULL ? 0 : osize, nsize);
}

/*
** For hosts that need guest memory. They may not know the old size, so this
** one is malloc, which does.
*/
EXPORT(lua_alloc)
void *lua_alloc (void *ud, void *ptr, size_t osize, size_t nsize) {
  size_t before = ptr == NULL ? 0 : malloc_usable_size(ptr);
  (void)ud;
  (void)osize;
  if (nsize == 0) {
    free(ptr);
    in_use -= before;
    return NULL;
  }
  if (nsize > MAX_BLOCK) return NULL;
  if (nsize > before && limit != 0 &&
      (in_use >= limit || nsize - before > limit - in_use))
    return NULL;
  ptr = realloc(ptr, nsize);
  if (ptr != NULL) in_use += malloc_usable_size(ptr) - before;
  return ptr;
}
