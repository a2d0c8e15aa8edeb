/*
** The one place where errors stop. The build adds what follows the call:
** see xtask/src/guest/lower.rs. It must stay a function of its own.
*/
#include "lua.h"

__attribute__((noinline, used))
void luacell_try (void (*f) (lua_State *, void *), lua_State *L, void *ud) {
  f(L, ud);
}
