/*
** Keeping the collector, and with it finalizers, from running.
**
** A collector that is asked for a step while it is stopped forgets what it is
** owed. It has to be told afterwards, or it would never run where all garbage
** is made in between.
**
** A lack of memory makes it collect all the same. What is written as a whole is
** held by C code alone where it is in weak tables, and is pinned then: better no
** memory than none of what was to be written.
*/
#include "luacell.h"

struct luacell_Held luacell_held;

static lu_byte before;
static l_mem debt;
static lu_mem total;

void gc_hold (lua_State *L) {
  global_State *g = G(L);
  if (luacell_held.holds++ == 0) {
    before = g->gcstp;
    debt = g->GCdebt;
    total = gettotalbytes(g);
    g->gcstp |= GCSTPGC;
  }
}

void gc_release (lua_State *L) {
  global_State *g = G(L);
  if (--luacell_held.holds > 0) return;
  luacell_pinned = 0;
  g->gcstp = before;
  luaE_setdebt(g, debt + (l_mem)(gettotalbytes(g) - total));
}

/* To be called with the collector held, of each table that is gone through. */
void gc_pin_weak (lua_State *L, const Table *t) {
  if (gfasttm(G(L), t->metatable, TM_MODE) != NULL) luacell_pinned = 1;
}

/* No finalizer runs in such a collection. */
void luacell_make_room (lua_State *L) {
  if (G(L)->gcstopem || luacell_pinned) return;
  guest.above.give_up(L);
  luaC_fullgc(L, 1);
}

void gc_drop_holds (lua_State *L) {
  if (luacell_held.holds > 0) {
    luacell_held.holds = 1;
    gc_release(L);
  }
}

/* Back to what was held where an error was caught. */
void luacell_hold_again (lua_State *L, struct luacell_Held held) {
  if (held.holds == 0) gc_drop_holds(L);
  else luacell_held.holds = held.holds;
  luacell_in_script = held.in_script;
  luacell_pinned = held.pinned;
}
