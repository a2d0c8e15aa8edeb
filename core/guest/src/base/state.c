/*
** What the instance knows: see luacell.h.
*/
#include "luacell.h"

Guest guest = {.revision = 1, .next_id = TABLE_ID_FIRST_FREE, .alias = 1};

lua_State *luacell_running;
