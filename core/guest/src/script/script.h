/*
** What a script finds, and how it is started.
*/
#ifndef script_h
#define script_h

#include "tables/tables.h"

/* chunks.c */
int chunk_load (lua_State *L, const char *source, size_t len,
                const char *name, size_t name_len);

/* modules.c */
void modules_open (lua_State *L);

/* library.c */
void luacell_open_libraries (lua_State *L);

/* host_function.c */
extern int luacell_in_host_call;
int host_function_call (lua_State *L);

/* output.c */
extern Bytes luacell_output;
void output_set_limit (size_t bytes);
void output_set_streaming (int flag);
size_t output_so_far (void);
void output_begin_run (void);
int luacell_print (lua_State *L);

#endif
