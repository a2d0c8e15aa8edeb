/*
** What the patched Lua core calls. Included by Lua's own files, so it may
** only use Lua's types.
*/
#ifndef luacell_hooks_h
#define luacell_hooks_h

#include "lobject.h"
#include "lstate.h"

/* Index an external table. 1: the value is in *val (which may have moved
   with the stack); 0: no such entry. */
int luacell_get (lua_State *L, Table *t, const TValue *key, StkId *val);

/* Assign to an external table. */
void luacell_set (lua_State *L, Table *t, const TValue *key,
                  const TValue *val);

/* Does the external table have this key? */
int luacell_has (lua_State *L, Table *t, const TValue *key);

/* A border of an external table. */
lua_Unsigned luacell_length (lua_State *L, Table *t);

/* 'next' on an external table: key at 'key', result there and above it. */
int luacell_next (lua_State *L, Table *t, StkId key);

/* 'pairs': 1 when the table at index 1 is external, with the three results
   pushed. */
int luacell_pairs (lua_State *L);

/* What was read of external tables may have changed, or its memory may be
   used again. */
void luacell_forget_reads (void);

/* A metamethod of an external table used as a metatable; NULL for none. */
const TValue *luacell_metamethod (Table *events, TString *name);

/* An external table got a metatable. */
void luacell_metatable_set (lua_State *L, Table *t);

/* A script gets a function that is running. */
void luacell_function_shown (void);

/* Ephemeron tables: see ephemerons.c. Marking an object tells of it while
   'luacell_converging' is set; 'luacell_mark' marks one and all it leads to. */
extern int luacell_converging;
void luacell_converge (global_State *g);
void luacell_wait_for_keys (Table *h);
void luacell_key_marked (const GCObject *o);
void luacell_mark (global_State *g, GCObject *o);

/* A stored upvalue is being freed. */
void luacell_cell_freed (UpVal *uv);

#endif
