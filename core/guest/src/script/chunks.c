/*
** Sources that hosts run again and again are compiled once. The compiler
** takes most of the time of a small compute, and for rules, formulas and
** handlers it is the same source each time.
**
** A source is kept from its second run on, so that what runs once costs no
** memory, and until there is a lack of memory. Each run gets a function of its
** own, only the code is shared; but where no script could tell, all runs get the
** same function.
*/
#include "script/script.h"
#include "lopcodes.h"

#define PLACES 64u
#define MAX_SOURCE 4096u

static struct Chunk {
  unsigned hash;
  unsigned len;
  int ticks; /* what compiling took, and costs each time: see chunk_load */
  int plain; /* neither makes functions nor assigns to _ENV */
  /* Anchored in guest.chunks; NULL until all of them are. */
  LClosure *function;
  const TString *source, *name;
} chunks[PLACES];

enum { CHUNK_SOURCE = 1, CHUNK_NAME, CHUNK_FUNCTION, CHUNK_FIELDS };

/* Keeps the value at the top of the stack alive. */
static void anchor (lua_State *L, const struct Chunk *c, int which) {
  unsigned place = (unsigned)(c - chunks);
  table_put(L, guest.chunks, place * CHUNK_FIELDS + (unsigned)which,
            s2v(L->top.p - 1));
}

static TString *anchor_string (lua_State *L, const struct Chunk *c, int which,
                               const char *s, size_t n) {
  TString *ts;
  push_string(L, s, n);
  anchor(L, c, which);
  ts = tsvalue(s2v(L->top.p - 1));
  L->top.p--;
  return ts;
}

static int is_string (const TString *ts, const char *s, size_t n) {
  return tsslen(ts) == n && memcmp(getstr(ts), s, n) == 0;
}

/* Has a script got hold of a running function? Then it may be one of these. */
static int shown;

void luacell_function_shown (void) { shown = 1; }

static int is_plain (const Proto *p) {
  int i;
  if (p->sizep > 0) return 0;
  for (i = 0; i < p->sizecode; i++)
    if (GET_OPCODE(p->code[i]) == OP_SETUPVAL) return 0;
  return 1;
}

/* In place of the function at the top of the stack a new one with the same code
   and the globals. */
static void make_instance (lua_State *L) {
  LClosure *of = clLvalue(s2v(L->top.p - 1));
  LClosure *cl = luaF_newLclosure(L, of->nupvalues);
  TValue env;
  cl->p = of->p;
  setclLvalue2s(L, L->top.p - 1, cl);
  luaF_initupvals(L, cl);
  sethvalue(L, &env, globals_table());
  setobj(L, cl->upvals[0]->v.p, &env);
  luaC_barrier(L, cl->upvals[0], &env);
}

/* By words: every run pays for its whole source. */
static unsigned hash_of (const char *s, size_t n) {
  uint64_t h = n, word = 0;
  size_t at;
  for (at = 0; at + sizeof word < n; at += sizeof word) {
    memcpy(&word, s + at, sizeof word);
    h = (h ^ word) * 0x9e3779b97f4a7c15;
    h ^= h >> 29;
  }
  if (n >= sizeof word) memcpy(&word, s + n - sizeof word, sizeof word);
  else while (at < n) word = word << 8 | (byte)s[at++];
  h = (h ^ word) * 0x9e3779b97f4a7c15;
  return (unsigned)(h ^ h >> 32);
}

typedef struct Source {
  struct Chunk *chunk;
  const char *text, *name;
  size_t name_len;
} Source;

/* Keeps the function at the top of the stack for the next run of its source. */
static void keep (lua_State *L, void *ud) {
  const Source *s = ud;
  struct Chunk *c = s->chunk;
  LClosure *function = clLvalue(s2v(L->top.p - 1));
  need_stack(L, 2);
  anchor(L, c, CHUNK_FUNCTION);
  c->name = anchor_string(L, c, CHUNK_NAME, s->name, s->name_len);
  c->source = anchor_string(L, c, CHUNK_SOURCE, s->text, c->len);
  c->plain = is_plain(function->p);
  c->function = function;
}

/* For lack of memory: they can be compiled again. */
void chunks_forget (lua_State *L) {
  unsigned i;
  for (i = 0; i < PLACES; i++) chunks[i].function = NULL;
  if (guest.chunks != NULL) table_clear(L, guest.chunks);
}

/* As luaL_loadbufferx with mode "t". */
int chunk_load (lua_State *L, const char *source, size_t len,
                const char *name, size_t name_len) {
  struct Chunk *c;
  unsigned hash;
  int status, again;
  int64_t before;
  if (len > MAX_SOURCE)
    return luaL_loadbufferx(L, source, len, name, "t");
  need_stack(L, 1);
  hash = hash_of(source, len);
  c = &chunks[hash % PLACES];
  again = c->hash == hash && c->len == len;
  if (again && c->function != NULL && is_string(c->source, source, len) &&
      is_string(c->name, name, name_len)) {
    setclLvalue2s(L, L->top.p, c->function);
    api_incr_top(L);
    if (!c->plain || shown) make_instance(L);
    luacell_count(c->ticks); /* the same count in every run */
    return LUA_OK;
  }
  before = budget_used();
  status = luaL_loadbufferx(L, source, len, name, "t");
  if (status != LUA_OK) return status;
  c->ticks = (int)(budget_used() - before);
  c->hash = hash;
  c->len = (unsigned)len;
  c->function = NULL;
  if (again && clLvalue(s2v(L->top.p - 1))->nupvalues == 1) {
    Source kept = {c, source, name, name_len};
    ptrdiff_t top = savestack(L, L->top.p);
    lu_byte stopem = G(L)->gcstopem;
    before = budget_used();
    /* without memory for it nothing is kept, and nothing given up for it */
    G(L)->gcstopem = 1;
    luaD_rawrunprotected(L, keep, &kept);
    G(L)->gcstopem = stopem;
    L->top.p = restorestack(L, top);
    if (c->function != NULL) make_instance(L);
    luacell_budget += budget_used() - before; /* not the script's */
  }
  return LUA_OK;
}
