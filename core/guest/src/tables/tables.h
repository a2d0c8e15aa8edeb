/*
** Kept tables, and functions kept in them.
*/
#ifndef tables_h
#define tables_h

#include "values/values.h"

/* cells.c: upvalues that are kept in a store */
int cell_is_bound (const UpVal *uv);
unsigned cell_id (const UpVal *uv);
void cell_unbind (UpVal *uv);
void cell_bind (lua_State *L, UpVal *uv, unsigned id);
void cells_begin_run (lua_State *L);
void cells_begin_transaction (lua_State *L);
int cells_next_changed (unsigned *i, unsigned *id, const UpVal **uv);
void cells_note_saved (lua_State *L, unsigned i);
void cells_release (lua_State *L);
void cells_unsave (lua_State *L);
void cells_restore (lua_State *L);

/* store.c: values as they are stored; plain tables become external */
void store_value (lua_State *L, unsigned id, const char *key, size_t klen,
                  const TValue *val, const TValue *shown_key);
void store_convert (lua_State *L, const TValue *v);

/* closures.c: functions with upvalues in a store */
void closure_load (lua_State *L, unsigned id);
void closures_store_changed (lua_State *L);
void closures_end_run (lua_State *L);

/* walk.c: going through external tables */
void walk_begin_run (void);
void walk_into (lua_State *L, unsigned id, int into);

/* undo.c: tables that a failed run has stored become plain ones again */
void tables_undo (lua_State *L);
void tables_forget_made (lua_State *L);
int tables_leave (lua_State *L);

#endif
