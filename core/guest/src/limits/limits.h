/*
** Counting what a run does, ending it at a limit, and errors.
*/
#ifndef limits_h
#define limits_h

#include "luacell.h"

/* budget.c: ticks, and what the host grants. Nothing here raises an error. */
void budget_set_grant (int ticks);
void budget_begin_run (void);
int64_t budget_used (void);
void budget_review (void);
void budget_reporting (int flag);
void budget_begin_undo (int64_t used);
void budget_tell_undo (void);
void budget_end_undo (void);
int64_t budget_end_run (void);
int budget_more (void);
int budget_undo_goes_on (void);
void budget_refuse (int kind);

/* error.c: raise an error whose kind the host will see. */
l_noret luacell_error (lua_State *L, int kind, const char *fmt, ...);
l_noret luacell_memory_error (lua_State *L);
void luacell_mark_error (lua_State *L, int kind, const TValue *message);
int luacell_message_handler (lua_State *L);
void luacell_note_error (lua_State *L);
void luacell_forget_error (int outermost);
void luacell_no_error (void);
void error_make_room (lua_State *L);
void error_remember (lua_State *L, int at, const TValue *v);
void luacell_forget_host_errors (lua_State *L);
int luacell_has_error (void);
void luacell_keep_syntax_error (lua_State *L, const char *chunkname);
void luacell_finish_error (lua_State *L, int status, Bytes *io);
int luacell_write_error_details (lua_State *L, const Bytes *output,
                                 int with_value);
const char *limit_message (int kind);
void luacell_host_error (lua_State *L, uint32_t number);

/*
** What is kept of errors, in guest.errors: two values of all runs, then what is
** told of the error of each run, by its depth.
*/
enum { ERROR_MARKED = 1, ERROR_LIMIT, ERROR_TOLD };

/* refuse.c: ending the run */
l_noret luacell_refuse (lua_State *L, int kind);
void budget_ask (lua_State *L);

#endif
