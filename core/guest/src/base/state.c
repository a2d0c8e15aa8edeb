/*
** What the instance knows: see luacell.h.
*/
#include "luacell.h"

Guest guest = {.revision = 1, .next_id = FIRST_FREE_ID, .alias = 1};

lua_State *luacell_running;
