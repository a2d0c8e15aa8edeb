/*
** What a script finds, and how it is started.
*/
#ifndef script_h
#define script_h

#include "json/json.h"

/* library.c */
int is_module (const char *name);

/* chunks.c */
void chunks_forget (lua_State *L);
int chunk_load (lua_State *L, const char *source, size_t len,
                const char *name, size_t name_len);

/* modules.c */
void modules_open (lua_State *L);
int module_loads_elsewhere (lua_State *L, const TValue *name);

/* library.c */
void luacell_open_libraries (lua_State *L);

/* host_function.c */
extern int luacell_in_host_call;
extern int luacell_request_unread;
int host_function_call (lua_State *L);
int host_function_sleep (lua_State *L);

/* scheduler.c */
void tasks_allow (int flag);
int tasks_may_wait (void);
l_noret tasks_cant_wait (lua_State *L, const char *who);
unsigned tasks_begin_request (lua_State *L);
void tasks_end_request (unsigned request);
int tasks_wait_for_module (lua_State *L, lua_KFunction k);
int tasks_wait_for_host (lua_State *L, unsigned request, lua_KFunction k);
const byte *tasks_answer (lua_State *L, unsigned request, size_t *n);
void tasks_read_answers (lua_State *L, const byte *p, size_t n);
void tasks_list_requests (lua_State *L, Bytes *out);
void tasks_begin_run (lua_State *L);
int tasks_run (lua_State *L, int nargs);
int tasks_go_on (lua_State *L);
void tasks_end_run (lua_State *L);

/* task_module.c */
int task_open (lua_State *L);

/* output.c */
extern Bytes luacell_output;
void output_set_limit (uint32_t bytes); /* 0: none, -1: of zero bytes */
void output_set_streaming (int flag);
size_t output_so_far (void);
void output_begin_run (void);
int luacell_print (lua_State *L);

#endif
