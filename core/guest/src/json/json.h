/*
** The module "json": what its files know of each other. Which values JSON text
** means is described in docs/API_REFERENCE.md.
*/
#ifndef json_h
#define json_h

#include "tables/tables.h"

/* {== For others */

/* The module, pushed. */
int json_open (lua_State *L);

/* }== */

/* As deep as the core writes JSON. */
#define JSON_DEPTH 500

/* module.c: the text that is being made, of all or of one string. */
extern int json_incomplete; /* for want of memory */
void json_start (void);
void json_put (const void *s, size_t n);
void json_push_text (lua_State *L);
const byte *json_skip_plain (lua_State *L, const byte *p, const byte *end);

/* decode.c */
int json_decode (lua_State *L);

/* encode.c */
int json_encode (lua_State *L);

#endif
