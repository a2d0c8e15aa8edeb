/*
** Calls of the host, and what was read in them.
*/
#ifndef host_h
#define host_h

#include "limits/limits.h"

/* cache.c: what the run has read. */
const TValue *cache_find (unsigned id, const TValue *key);
void cache_keep (unsigned id, const TValue *key, const TValue *val, int cost);
void cache_drop (unsigned id, const TValue *key);

/* host.c: the five host functions with retries, and the channel. */
int host_cost (size_t bytes);
byte *host_get (lua_State *L, unsigned id, const char *key, size_t klen,
                size_t *len);
void host_set (lua_State *L, unsigned id, const char *key, size_t klen,
               const byte *val, size_t vlen);
void host_delete (lua_State *L, unsigned id, const char *key, size_t klen);
int host_delete_quietly (unsigned id, const char *key, size_t klen);
unsigned host_size (unsigned id);
const char *host_keys (lua_State *L, unsigned id, size_t *len);
unsigned host_changes (void);
byte *host_request (lua_State *L, const byte *request, size_t n, size_t *len);
int host_call (const byte *request, size_t n, byte *answer, size_t max);
int host_wait (void);
const byte *host_fetch_pushed (lua_State *L, size_t len);
int host_limits (int64_t used, int64_t *ticks);
void host_begin_run (void);
void host_drop_request (unsigned request);
void host_release (unsigned number, unsigned times);

#endif
