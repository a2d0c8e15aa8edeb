/*
** The module "json": what its files know of each other. What JSON text means
** which values is described in docs/API_REFERENCE.md.
*/
#ifndef json_h
#define json_h

#include "tables/tables.h"

/* {== For others */

/* The module, pushed. */
void json_open (lua_State *L);

/* }== */

/* As deep as the core writes JSON. */
#define JSON_DEPTH 500

/* json.null: a light userdata, which equals nothing else. */
#define json_is_null(v) (ttislightuserdata(v) && pvalue(v) == NULL)

/*
** A plain table can be marked as a list, by a bit that Lua's collector leaves to
** tests: a metatable would be in the way of those that scripts set, and could
** be changed for all lists. A stored table is marked only in Lua's memory, where
** it may not stay, so the mark of one does not count.
*/
#define json_mark_list(t) l_setbit((t)->marked, TESTBIT)
#define json_is_list(t) ((t)->extid == 0 && testbit((t)->marked, TESTBIT))

/* decode.c */
int json_decode (lua_State *L);

/* encode.c */
int json_encode (lua_State *L);

#endif
