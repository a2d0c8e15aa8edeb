/*
** Ending a run with a limit. That error can't be caught: what would catch it
** raises it again.
*/
#include "limits/limits.h"

/* Once a limit was reached every further tick comes here. */
static l_noret raise_again (lua_State *L) {
  luacell_budget = -1;
  need_stack(L, 4);
  setobj2s(L, L->top.p, luaH_getint(guest.errors, ERROR_LIMIT));
  api_incr_top(L);
  gc_drop_holds(L);
  luaD_throw(L, LUA_ERRRUN);
}

/* The message, and where the run was. */
static void tell (lua_State *L, void *ud) {
  need_stack(L, 10);
  luaL_where(L, 0);
  if (lua_tostring(L, -1)[0] == '\0') {
    lua_pop(L, 1);
    luaL_where(L, 1);
  }
  lua_pushstring(L, limit_message(*(int *)ud));
  lua_concat(L, 2);
  error_remember(L, ERROR_LIMIT, s2v(L->top.p - 1));
  luacell_note_error(L);
}

/*
** Ends the run with a limit, whatever the script does about it. What is told
** of it may lack memory, stack or time and is cut short then: no error but
** that of the limit leaves here, or handlers of the script would have what
** was granted for telling.
*/
l_noret luacell_refuse (lua_State *L, int kind) {
  TValue nil;
  CallInfo *ci = L->ci;
  ptrdiff_t top = savestack(L, L->top.p);
  lu_byte stopem = G(L)->gcstopem;
  budget_refuse(kind);
  setnilvalue(&nil);
  table_put(L, guest.errors, ERROR_LIMIT, &nil);
  /* In full memory each piece of text would take a full collection. */
  gc_hold(L);
  G(L)->gcstopem = 1;
  luacell_reserve(1);
  luaD_rawrunprotected(L, tell, &kind);
  luacell_reserve(0);
  G(L)->gcstopem = stopem;
  L->ci = ci;
  L->top.p = restorestack(L, top);
  raise_again(L);
}

/* Gives the host an occasion to end the run. */
void budget_ask (lua_State *L) {
  int kind;
  luacell_not_refused(L);
  kind = budget_more();
  if (kind != 0) luacell_refuse(L, kind);
}

void luacell_budget_spent (lua_State *L) {
  if (luacell_refused) {
    if (budget_undo_goes_on()) return;
    raise_again(L);
  }
  while (luacell_budget < 0) {
    int kind = budget_more();
    if (kind != 0) luacell_refuse(L, kind);
  }
}

/* For loops in the C libraries, where the build puts it. */
void luacell_budget_spent_here (void) {
  luacell_budget_spent(luacell_running);
}

/* Where an error was caught: go on only if it was not a limit. */
void luacell_not_refused (lua_State *L) {
  if (l_unlikely(luacell_refused)) raise_again(L);
}
