/*
** Functions of the host as Lua functions. While one runs, the host may come
** back and run Lua: see 'enter' in exports.c.
*/
#include "script/script.h"

int luacell_in_host_call; /* may the host run Lua now? */

static _Alignas(16) byte request_start[512];
static Bytes request = {.p = request_start, .cap = sizeof request_start,
                        .fixed = request_start,
                        .fixed_cap = sizeof request_start, .kind = PASSING};

/* The function's registered name, for messages. */
static const char *name_of (lua_State *L) {
  size_t n;
  const char *name = builtin_name(s2v(L->ci->func.p), &n);
  return name == NULL ? "?" : name;
}

static l_noret broken (lua_State *L) {
  luacell_error(L, KIND_INTERNAL, "the host gave a broken answer");
}

/*
** A message gets the place of the call in front when the host wants it, as
** messages of built-ins have it; any other value is raised as it is. The
** kind of an error that came out of a run inside the call stays.
*/
static l_noret raise (lua_State *L, const byte *answer, size_t n) {
  uint32_t number;
  if (n < 6) broken(L);
  number = get_u32(answer + 2);
  if (decode_values(L, answer + 6, n - 6) != 1) broken(L);
  if ((answer[1] & 1) != 0 && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  if (number != 0)
    luacell_host_error(L, number);
  else if (answer[1] >> 1 != 0)
    luacell_mark_error(L, answer[1] >> 1, s2v(L->top.p - 1));
  luaG_errormsg(L);
}

static int finish (lua_State *L, const byte *answer, size_t n) {
  if (n == 0) broken(L);
  switch (answer[0]) {
    case STATUS_RESULTS: return decode_values(L, answer + 1, n - 1);
    case STATUS_ERROR:
      raise(L, answer, n);
    case STATUS_LIMIT:
      if (n == 5) luacell_refuse(L, (int)get_u32(answer + 1));
  }
  broken(L);
}

static int answered (lua_State *L, int status, lua_KContext request);

static l_noret cant_wait (lua_State *L) {
  lua_pushfstring(L, "'%s'", name_of(L));
  tasks_cant_wait(L, lua_tostring(L, -1));
}

/* The arguments are at the top of the stack, the results are in the end. */
static int call (lua_State *L, unsigned id) {
  byte answer[256];
  int n;
  int before = luacell_in_host_call;
  int can_wait = luacell_can_wait(L);
  bytes_shrink(&request); /* an error may have left it large */
  request.p[0] = can_wait ? OPERATION_REQUEST : OPERATION_CALL;
  put_u32(request.p + 1, id);
  put_u32(request.p + 5, can_wait ? tasks_next_request() : 0);
  request.len = can_wait ? 9 : 5;
  encode_values(L, "argument", 1, lua_gettop(L), &request);
  luacell_count(16 + (request.len >> 5));
  if (!can_wait) L->top.p = L->ci->func.p + 1;
  luacell_in_host_call = 1;
  n = host_call(request.p, request.len, answer, sizeof answer);
  if (n == 1 && answer[0] == STATUS_PENDING) n = host_wait();
  luacell_in_host_call = before;
  luacell_running = L;
  bytes_shrink(&request);
  luacell_not_refused(L); /* a run inside this one may have been stopped */
  if (l_unlikely(n == 1 && answer[0] == STATUS_WAITING)) {
    if (can_wait) return tasks_wait_for_host(L, answered);
    cant_wait(L);
  }
  L->top.p = L->ci->func.p + 1;
  if (l_likely(n >= 0 && (size_t)n <= sizeof answer))
    return finish(L, answer, (size_t)n);
  if (n == CODE_ABSENT)
    luacell_error(L, KIND_HOST_FUNCTION,
                  "the host function '%s' is not registered", name_of(L));
  n = -(n + 1);
  {
    const byte *large = host_fetch_pushed(L, (size_t)n);
    if (large == NULL) broken(L);
    return finish(L, large, (size_t)n);
  }
}

/* Nothing of a script runs while its messages are made and read. */
static int ask (lua_State *L, unsigned id) {
  int n;
  luacell_in_script = 0;
  n = call(L, id);
  luacell_in_script = 1;
  luaC_checkGC(L);
  return n;
}

/* Goes on with the answer that came later. */
static int answered (lua_State *L, int status, lua_KContext request) {
  size_t n;
  const byte *answer;
  (void)status;
  luacell_in_script = 0;
  lua_settop(L, 0);
  answer = tasks_answer(L, (unsigned)request, &n);
  status = finish(L, answer, n);
  luacell_in_script = 1;
  luaC_checkGC(L);
  return status;
}

int host_function_call (lua_State *L) {
  return ask(L, (unsigned)lua_tointeger(L, lua_upvalueindex(1)));
}

/* The seconds are the argument. */
int host_function_sleep (lua_State *L) { return ask(L, SLEEP); }
