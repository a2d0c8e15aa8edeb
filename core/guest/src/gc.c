/*
** Keeping the collector, and with it finalizers, from running.
*/
#include "luacell.h"

static int holds;
static lu_byte before;

void gc_hold (lua_State *L) {
  global_State *g = G(L);
  if (holds++ == 0) {
    before = g->gcstp;
    g->gcstp |= GCSTPGC;
  }
}

void gc_release (lua_State *L) {
  if (--holds == 0) G(L)->gcstp = before;
}

void gc_drop_holds (lua_State *L) {
  if (holds > 0) {
    holds = 1;
    gc_release(L);
  }
}
