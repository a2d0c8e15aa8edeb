/*
** Functions of the host as Lua functions. While one runs, the host may come
** back and run Lua: see 'enter' in exports.c.
*/
#include "script/script.h"

int luacell_in_host_call; /* may the host run Lua now? */

/* Does what a run was asked for still lie where the host writes? A function
   that uses its sandbox would overwrite it. */
int luacell_request_unread;

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

static l_noret cant_wait (lua_State *L) {
  lua_pushfstring(L, "'%s'", name_of(L));
  tasks_cant_wait(L, lua_tostring(L, -1));
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
      break;
    case STATUS_WAITING: cant_wait(L);
  }
  broken(L);
}

/* Asks the host for the function; the answer's length, as 'host_call' has it. */
static inline int ask (lua_State *L, byte *answer, size_t room) {
  int before = luacell_in_host_call;
  int n;
  luacell_count(16 + (request.len >> 5));
  luacell_in_host_call = 1;
  n = host_call(request.p, request.len, answer, room);
  if (n == 1 && answer[0] == STATUS_PENDING) n = host_wait();
  luacell_in_host_call = before;
  luacell_running = L;
  bytes_shrink(&request);
  luacell_not_refused(L); /* a run inside this one may have been stopped */
  return n;
}

static inline int finish_any (lua_State *L, const byte *answer, size_t room, int n) {
  const byte *large;
  if (l_likely(n >= 0 && (size_t)n <= room)) return finish(L, answer, (size_t)n);
  if (n == CODE_ABSENT)
    luacell_error(L, KIND_HOST_FUNCTION,
                  "the host function '%s' is not registered", name_of(L));
  n = -(n + 1);
  large = host_fetch_pushed(L, (size_t)n);
  if (large == NULL) broken(L);
  return finish(L, large, (size_t)n);
}

static int answered (lua_State *L, int status, lua_KContext number);

/* As 'call', where the answer may come later. */
static __attribute__((noinline)) int call_and_wait (lua_State *L, unsigned id) {
  byte answer[256];
  unsigned number;
  int n;
  request.len = 9;
  request.p[0] = OPERATION_REQUEST;
  put_u32(request.p + 1, id);
  encode_values(L, "argument", 1, lua_gettop(L), &request);
  number = tasks_begin_request(L);
  put_u32(request.p + 5, number);
  n = ask(L, answer, sizeof answer);
  if (n == 1 && answer[0] == STATUS_WAITING)
    return tasks_wait_for_host(L, number, answered);
  tasks_end_request(number);
  L->top.p = L->ci->func.p + 1;
  return finish_any(L, answer, sizeof answer, n);
}

/* The arguments are at the top of the stack, the results are in the end. */
static int call (lua_State *L, unsigned id) {
  byte answer[256];
  bytes_shrink(&request); /* an error may have left it large */
  if (luacell_can_wait(L)) return call_and_wait(L, id);
  request.len = 5;
  request.p[0] = OPERATION_CALL;
  put_u32(request.p + 1, id);
  encode_values(L, "argument", 1, lua_gettop(L), &request);
  L->top.p = L->ci->func.p + 1;
  return finish_any(L, answer, sizeof answer, ask(L, answer, sizeof answer));
}

/* Nothing of a script runs while its messages are made and read. */
static int call_host (lua_State *L) {
  int n;
  if (l_unlikely(luacell_request_unread)) luacell_memory_error(L);
  luacell_in_script = 0;
  n = call(L, host_function_number(s2v(L->ci->func.p)));
  luacell_in_script = 1;
  luaC_checkGC(L);
  return n;
}

/* Goes on with the answer that came later. */
static int answered (lua_State *L, int status, lua_KContext number) {
  size_t n;
  const byte *answer;
  (void)status;
  luacell_in_script = 0;
  lua_settop(L, 0);
  answer = tasks_answer(L, (unsigned)number, &n);
  status = finish(L, answer, n);
  luacell_in_script = 1;
  luaC_checkGC(L);
  return status;
}

int host_function_call (lua_State *L) { return call_host(L); }

/* The seconds are the argument. */
int host_function_sleep (lua_State *L) { return call_host(L); }
