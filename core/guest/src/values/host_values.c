/*
** Functions of the host that have no name: values that the host passes. Lua has
** one function for each, however often it is passed, and tells the host when it
** has let go of it.
**
** A finalizer would be called too late, or never once a limit was reached. So
** the function holds a userdata, its token, and when the collector frees that
** the host is told: nothing of Lua runs, and nothing is allocated.
*/
#include "values/values.h"

typedef struct Token {
  uint32_t number;
  uint32_t received; /* how often the host has passed it to this function */
} Token;

/* Upvalues of such a function. Those with a name have a string for the second. */
enum { NUMBER, NAME, TOKEN, UPVALUES };

/* A host may hold more for a function than Lua sees: that much counts as
   garbage when it goes, so that the collector comes in time. */
#define WEIGHT 1024

static Token *token_of (const TValue *f) {
  return (Token *)getudatamem(uvalue(&clCvalue(f)->upvalue[TOKEN]));
}

int host_value_is (const TValue *v) {
  return is_host_function(v) && clCvalue(v)->nupvalues == UPVALUES;
}

/* Pushes the function with this number. */
void host_value_push (lua_State *L, unsigned number) {
  const TValue *known = luaH_getint(guest.host_values, number);
  Token *token;
  if (!isempty(known)) {
    token_of(known)->received++;
    setobj2s(L, L->top.p, known);
    api_incr_top(L);
    return;
  }
  need_stack(L, UPVALUES);
  lua_pushinteger(L, number);
  lua_pushnil(L);
  token = lua_newuserdatauv(L, sizeof *token, luacell_HOST_VALUE);
  token->number = number;
  token->received = 0; /* if there is no memory for the rest nobody had it */
  lua_pushcclosure(L, guest.above.call_host, UPVALUES);
  table_put(L, guest.host_values, number, s2v(L->top.p - 1));
  token->received = 1;
  luaE_setdebt(G(L), G(L)->GCdebt + WEIGHT);
}

/* Adds the number of each function that Lua has, and how often it was passed. */
void host_values_list (lua_State *L, Bytes *to) {
  unsigned pos = 0;
  TValue key, val;
  while (table_step(guest.host_values, &pos, &key, &val)) {
    byte b[8];
    put_u32(b, token_of(&val)->number);
    put_u32(b + 4, token_of(&val)->received);
    if (!bytes_add(to, b, sizeof b)) luacell_memory_error(L);
  }
}

/* The collector frees a userdata with this mark. */
void luacell_host_value_freed (const Udata *u) {
  const Token *token = (const Token *)getudatamem(u);
  if (token->received > 0) host_release(token->number, token->received);
}
