/*
** Values of the host: functions that have no name, and objects. Lua has one
** value for each, however often it is passed, and tells the host when it has
** let go of it.
**
** A finalizer would be called too late, or never once a limit was reached. So
** a userdata, the token, stands for each: a function holds it, an object is
** one. When the collector frees it the host is told: nothing of Lua runs, and
** nothing is allocated.
*/
#include "values/values.h"

typedef struct Token {
  uint32_t number;
  uint32_t received; /* how often the host has passed it */
  uint32_t class; /* of an object */
} Token;

/* Upvalues of such a function. Those with a name have a string for the second. */
enum { NUMBER, NAME, TOKEN, UPVALUES };

/* A host may hold more for a value than Lua sees: that much counts as garbage
   when it goes, so that the collector comes in time. */
#define WEIGHT 1024

static Token *token_of (const TValue *v) {
  if (ttisCclosure(v)) v = &clCvalue(v)->upvalue[TOKEN];
  return (Token *)getudatamem(uvalue(v));
}

int host_value_is (const TValue *v) {
  return is_host_function(v) && clCvalue(v)->nupvalues == UPVALUES;
}

int host_object_is (const TValue *v) {
  return ttisfulluserdata(v) && uvalue(v)->nuvalue == luacell_HOST_VALUE;
}

unsigned host_object_number (const TValue *v, unsigned *class) {
  *class = token_of(v)->class;
  return token_of(v)->number;
}

/* Pushes the value if Lua has it. */
static int push_known (lua_State *L, unsigned number) {
  const TValue *known = luaH_getint(guest.host_values, number);
  if (isempty(known)) return 0;
  token_of(known)->received++;
  setobj2s(L, L->top.p, known);
  api_incr_top(L);
  return 1;
}

static Token *token_push (lua_State *L, unsigned number, unsigned class) {
  Token *token = lua_newuserdatauv(L, sizeof *token, luacell_HOST_VALUE);
  token->number = number;
  token->received = 0; /* if there is no memory for the rest nobody had it */
  token->class = class;
  return token;
}

/* The value at the top of the stack is the one with this number. */
static void keep (lua_State *L, Token *token) {
  table_put(L, guest.host_values, token->number, s2v(L->top.p - 1));
  token->received = 1;
  luaE_setdebt(G(L), G(L)->GCdebt + WEIGHT);
}

/* Pushes the function with this number. */
void host_value_push (lua_State *L, unsigned number) {
  Token *token;
  if (push_known(L, number)) return;
  need_stack(L, UPVALUES);
  lua_pushinteger(L, number);
  lua_pushnil(L);
  token = token_push(L, number, 0);
  lua_pushcclosure(L, guest.above.call_host, UPVALUES);
  keep(L, token);
}

/* Pushes the object with this number. */
void host_object_push (lua_State *L, unsigned number, unsigned class) {
  Token *token;
  if (push_known(L, number)) return;
  need_stack(L, 2);
  class_push(L, class, number);
  token = token_push(L, number, class);
  lua_insert(L, -2);
  lua_setmetatable(L, -2);
  keep(L, token);
}

/* Adds the number of each value that Lua has, and how often it was passed. */
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
