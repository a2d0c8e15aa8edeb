/*
** Frames of calls (Lua's CallInfo), listed in the order of the calls.
**
** Lua makes and frees each by itself, and after some deep recursions they lie
** anywhere in memory: whatever walks a deep stack, to move it, waits for
** memory at each step, longer than a limit may take to act. So from some depth
** on they come in blocks, and the list is only ever cut at its end. The place
** of a frame says whether a block ends there. See patch 47.
*/
#include "luacell.h"

#include "lmem.h"

#define TICKS_OF_ONE 16 /* made and, after an error, freed again */

/* How long the block is that comes after 'n' frames, a multiple of that. */
static unsigned block_after (unsigned n) {
  return n < 16 ? 1 : n < 256 ? 16 : 256;
}

/* More frames; the next one, or NULL without memory, unless that raises. */
CallInfo *luaE_extendCI (lua_State *L, int raise) {
  unsigned size = block_after(L->nci), i;
  CallInfo *last = L->ci, *block;
  luacell_count(TICKS_OF_ONE * size);
  block = luaM_reallocvector(L, NULL, 0, size, CallInfo);
  if (l_unlikely(block == NULL)) {
    if (raise) luaM_error(L);
    return NULL;
  }
  while (last->next != NULL) last = last->next;
  for (i = 0; i < size; last = &block[i++]) {
    last->next = &block[i];
    block[i].previous = last;
    block[i].u.l.trap = 0;
    block[i].n = ++L->nci;
  }
  last->next = NULL;
  return L->ci->next;
}

/* Frees what comes after this one, which is the last of a block. */
static void free_after (lua_State *L, CallInfo *last) {
  CallInfo *block = last->next;
  unsigned n = last->n;
  last->next = NULL;
  while (block != NULL) {
    unsigned size = block_after(n);
    CallInfo *next = block[size - 1].next;
    luaM_freearray(L, block, size);
    n += size;
    block = next;
  }
  L->nci = last->n;
}

void luacell_free_frames (lua_State *L) { free_after(L, &L->base_ci); }

/* Frees half of those that are not in use, but for the first of them. */
void luaE_shrinkCI (lua_State *L) {
  CallInfo *last = L->ci->next;
  unsigned kept = L->ci->n + (L->nci - L->ci->n + 1) / 2;
  if (last == NULL) return;
  while (last->n < kept || last->n % block_after(last->n) != 0) {
    unsigned size = block_after(last->n);
    int ends = last->n % size == 0; /* jump over the next block */
    if (last->next == NULL) return;
    last = ends ? last->next + (size - 1) : last->next;
  }
  free_after(L, last);
}
