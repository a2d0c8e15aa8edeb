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

/* Is the table at the top of the stack external? */
int luacell_is_external (lua_State *L);

/* An external table was to become a metatable. */
l_noret luacell_no_metatable (lua_State *L);

/* An external table got a metatable. */
void luacell_metatable_set (lua_State *L, Table *t);

/* Frees all frames of a thread that ends. */
void luacell_free_frames (lua_State *L);

/* Is '__gc' called for this object? */
int luacell_has_finalizer (const GCObject *o);

/*
** Does code of a script run now, so that finalizers may too? How often is the
** collector held, and not even a lack of memory may free anything? An error
** that is caught brings all of that back to what it was there.
*/
struct luacell_Held {
  int in_script;
  int holds;
  int pinned;
};
extern struct luacell_Held luacell_held;
void luacell_hold_again (lua_State *L, struct luacell_Held held);
#define luacell_in_script	(luacell_held.in_script)
#define luacell_pinned	(luacell_held.pinned)

/* How many levels there are for 'lua_getstack'. */
int luacell_levels (lua_State *L);

/* 'lua_getstack', where the outermost level is known: from the nearer end. */
int luacell_getstack (lua_State *L, int level, int last, lua_Debug *ar);

extern int luacell_refused; /* kind of the limit that was reached, or 0 */
#define luacell_may_finalize()	(luacell_in_script && !luacell_refused)

/* Before 'n' values are moved in one go. */
#define luacell_move(L,n)  \
  { if (l_unlikely((n) >= 16)) luacell_look(L); }

/* A script gets a function that is running. */
void luacell_function_shown (void);

/* Ephemeron tables: see ephemerons.c. Marking an object tells of it while
   'luacell_converging' is set; 'luacell_mark' marks one and all it leads to. */
extern int luacell_converging;
void luacell_converge (global_State *g);
void luacell_wait_for_keys (Table *h);
void luacell_key_marked (const GCObject *o);
void luacell_mark (global_State *g, GCObject *o);

/*
** What a host or a script says that a table is, in the two highest bits of
** 'extmark'. A metatable would be in the way of those that scripts set.
*/
#define luacell_PLACE	(~0u >> 2)
#define luacell_SHAPE_LIST	(1u << 30)
#define luacell_SHAPE_MAP	(1u << 31)

/* In 'extmark': one of the guest's own weak tables. */
#define luacell_GUESTS	UINT_MAX
#define luacell_is_guests(t)	((t)->extmark == luacell_GUESTS)

/* {== Waiting: see scheduler.c */

/* What a thread is, in the space that Lua leaves for such. */
#define luacell_flags(L)	(*(lu_byte *)lua_getextraspace(L))
#define THREAD_TASK	1u  /* scripts see it as the main one */
#define THREAD_WAITS	2u  /* 'normal': it can't be resumed by a script */
#define THREAD_DONE	4u  /* 'dead', whatever is on its stack */
#define THREAD_CHAIN	8u  /* all that resumed it can wait */

/* Can the function that is running wait? */
int luacell_can_wait (lua_State *L);

/* Calls what may wait, where it can, and what can't yield to a script. */
void luacell_callk (lua_State *L, int nargs, int nresults, lua_KContext ctx,
                    lua_KFunction k);
int luacell_pcallk (lua_State *L, int nargs, int nresults, lua_KContext ctx,
                    lua_KFunction k);
int luacell_can_yield (lua_State *L);

/* The coroutine that the thread, which waits, has resumed; or NULL. */
lua_State *luacell_resumed_by (lua_State *L);

/* Is a task on its way down to the scheduler? */
extern int luacell_suspending;

/* }== */

/* Frees what nothing refers to, before an allocation is tried again. */
void luacell_make_room (lua_State *L);

/* A stored upvalue is being freed. */
void luacell_cell_freed (UpVal *uv);

/* What holds a function of the host, a userdata with as many user values, is
   being freed: see host_values.c. */
#define luacell_HOST_VALUE 1
void luacell_host_value_freed (const Udata *u);

/* A loop with these values begins, the first is a userdata: see classes.c. */
void luacell_begin_loop (lua_State *L, StkId values);

#endif
