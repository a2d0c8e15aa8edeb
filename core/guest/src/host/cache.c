/*
** What a run has read of external tables: a read that is repeated needs no
** call of the host. Only for hosts whose runs are transactions, in which
** nobody else's writes show up. A repeated read costs what the first one did.
**
** Strings and tables are not held: what was read is forgotten before the
** collector frees anything.
*/
#include "host/host.h"

#define SLOTS 256u

typedef struct Read {
  TValue key; /* a short string or an integer */
  TValue val;
  unsigned id;
  unsigned age; /* it counts when this is 'now' */
  int cost;
} Read;

_Static_assert(SLOTS * sizeof(Read) <= READS_SIZE, "no room for the reads");

static unsigned now = 1; /* the memory for reads is zeros at first */

static inline Read *slot (unsigned i) {
  return (Read *)READS_START + (i & (SLOTS - 1));
}

void luacell_forget_reads (void) {
  if (l_unlikely(++now == 0)) {
    memset(READS_START, 0, READS_SIZE);
    now = 1;
  }
}

/* Where a read of this key would be; NULL when such keys are not kept.
   'plain' is the key as all its forms are known here. */
static Read *place_of (unsigned id, const TValue *key, TValue *plain) {
  unsigned hash;
  lua_Integer i;
  *plain = *key;
  if (ttisshrstring(key))
    hash = tsvalue(key)->hash;
  else {
    if (ttisfloat(key) && luaV_flttointeger(fltvalue(key), &i, F2Ieq)) {
      setivalue(plain, i);
    }
    if (!ttisinteger(plain)) return NULL;
    hash = (unsigned)ivalue(plain);
  }
  return slot(hash + id * 31);
}

static int is_of (const Read *r, unsigned id, const TValue *plain) {
  return r->age == now && r->id == id && rawtt(&r->key) == rawtt(plain) &&
         (ttisinteger(plain) ? ivalue(&r->key) == ivalue(plain)
                             : tsvalue(&r->key) == tsvalue(plain));
}

const TValue *cache_find (unsigned id, const TValue *key) {
  TValue plain;
  const Read *r;
  if (!guest.transactional || (r = place_of(id, key, &plain)) == NULL ||
      !is_of(r, id, &plain))
    return NULL;
  luacell_count(r->cost);
  return &r->val;
}

void cache_keep (unsigned id, const TValue *key, const TValue *val,
                 int cost) {
  TValue plain;
  Read *r;
  if (!guest.transactional || (r = place_of(id, key, &plain)) == NULL)
    return;
  r->key = plain;
  r->val = *val;
  r->id = id;
  r->age = now;
  r->cost = cost;
}

void cache_drop (unsigned id, const TValue *key) {
  TValue plain;
  Read *r = place_of(id, key, &plain);
  if (r != NULL && is_of(r, id, &plain)) r->age = now - 1;
}
