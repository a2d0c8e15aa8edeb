/*
** Metering. Lua code and library loops take ticks from a budget; when it is
** used up the host is asked, and it grants more or says which limit was
** reached. That error can't be caught: what would catch it raises it again.
**
** A tick is about one instruction of the Lua machine: a loop takes the length
** of its body each time round, a call the length of the function, a loop in
** the C libraries one per turn, copying one per 64 bytes.
*/
#include "luacell.h"

#undef luacell_budget

/* Enough to never look again soon. */
#define PLENTY (1 << 30)

/* For the message and the traceback of a limit: some milliseconds. */
#define TELLING (1 << 23)

/* For taking a run back, beside twice what it used; so many before the host is asked. */
#define UNDOING (1 << 25)
#define UNASKED (1 << 17)

long long luacell_budget = PLENTY;
int luacell_refused; /* kind of the limit that was reached, or 0 */

static int grant; /* what a run starts with; 0: not metered */
static int metered; /* is a run under way? */
static int64_t granted; /* in this run */
static int64_t used_when_refused;
static int64_t undo_left; /* what taking a run back may use once more */

static const char *const limit_messages[] = {
  [KIND_INSTRUCTION_LIMIT] = "instruction limit reached",
  [KIND_TIMEOUT] = "time limit reached",
  [KIND_INTERRUPTED] = "interrupted",
  [KIND_OUTPUT_LIMIT] = "output limit reached",
  [KIND_STORE_LIMIT] = "store limit reached",
  [KIND_HOST_CALL_LIMIT] = "host call limit reached"
};

const char *limit_message (int kind) {
  size_t n = sizeof limit_messages / sizeof limit_messages[0];
  if (kind > 0 && (size_t)kind < n && limit_messages[kind] != NULL)
    return limit_messages[kind];
  return "stopped by the host";
}

void budget_set_grant (int ticks) { grant = ticks > 0 ? ticks : 0; }

void budget_begin_run (void) {
  metered = grant > 0;
  luacell_refused = 0;
  luacell_budget = grant > 0 ? grant : PLENTY;
  granted = luacell_budget;
}

int64_t budget_used (void) { return granted - luacell_budget; }

/*
** Other limits hold from here on: the host is asked at the next tick, and one
** that was reached is forgotten.
*/
void budget_review (void) {
  granted = luacell_refused ? used_when_refused : budget_used();
  luacell_refused = 0;
  luacell_budget = 0;
}

/* While the error of a limit is reported, functions of the guest's own run. */
void budget_reporting (int flag) {
  if (!luacell_refused) return;
  luacell_budget = flag ? PLENTY : -1;
  granted = used_when_refused + luacell_budget;
}

/* After a run: what the guest itself has to do is not metered. */
int64_t budget_end_run (void) {
  int64_t used = budget_used();
  luacell_budget = PLENTY;
  luacell_refused = metered = 0;
  return used;
}

/*
** Asks the host: the kind of the limit that was reached, or 0 and how many
** ticks may follow. The answer comes to a place of its own: the run may be
** looked at while a message of the host is being read.
*/
static int ask_host (int64_t used, int64_t *ticks) {
  byte request[9], answer[8];
  request[0] = CHANNEL_LIMITS;
  memcpy(request + 1, &used, 8);
  *ticks = PLENTY;
  if (guest.revision < 2 ||
      host_call(request, sizeof request, answer, sizeof answer) != 8)
    return 0;
  *ticks = get_u32(answer + 4);
  return (int)get_u32(answer);
}

/*
** Taking a run back may take twice as long as the run itself, and a while, as
** long as the host has time for it. What is left then is not taken along, as
** without memory.
*/
void budget_begin_undo (int64_t used) {
  undo_left = UNDOING - UNASKED + 2 * used;
  luacell_budget = UNASKED;
  luacell_refused = KIND_TIMEOUT;
}

/* Before anything is looked at that the run made. */
void budget_tell_undo (void) {
  int64_t ticks;
  if (grant > 0) ask_host(LIMITS_UNDO, &ticks);
}

void budget_end_undo (void) {
  undo_left = 0;
  luacell_budget = PLENTY;
  luacell_refused = 0;
}

/* Once a limit was reached every further tick comes here. */
static l_noret raise_again (lua_State *L) {
  luacell_budget = -1;
  need_stack(L, 4);
  setobj2s(L, L->top.p, luaH_getint(guest.errors, ERROR_LIMIT));
  api_incr_top(L);
  gc_drop_holds(L);
  luaD_throw(L, LUA_ERRRUN);
}

/* So many ticks from here, whatever was overdrawn. */
static void add_grant (int64_t ticks) {
  int64_t used = budget_used();
  if (ticks <= 0 || ticks > PLENTY) ticks = PLENTY;
  luacell_budget = ticks;
  granted = used + ticks;
}

/* 0 when the run may go on. */
static int ask (void) {
  int64_t ticks = PLENTY;
  int kind = metered ? ask_host(budget_used(), &ticks) : 0;
  if (kind == 0) add_grant(ticks);
  return kind;
}

/* Whether there is time to go on with taking a run back. */
static int undo_goes_on (void) {
  int64_t ticks;
  undo_left += luacell_budget; /* overdrawn */
  if (undo_left <= 0) return 0;
  if (grant > 0 && ask_host(LIMITS_UNDO, &ticks) != 0) return undo_left = 0;
  if (grant <= 0 || ticks > undo_left) ticks = undo_left;
  undo_left -= ticks;
  luacell_budget = ticks;
  return 1;
}

/* The message, and where the run was. */
static void tell (lua_State *L, void *ud) {
  need_stack(L, 10);
  luaL_where(L, 0);
  if (lua_tostring(L, -1)[0] == '\0') {
    lua_pop(L, 1);
    luaL_where(L, 1);
  }
  lua_pushstring(L, limit_message(*(int *)ud));
  lua_concat(L, 2);
  table_put(L, guest.errors, ERROR_LIMIT, s2v(L->top.p - 1));
  luacell_note_error(L);
}

/*
** Ends the run with a limit, whatever the script does about it. What is told
** of it may lack memory, stack or time and is cut short then: no error but
** that of the limit leaves here, or handlers of the script would have what
** was granted for telling.
*/
l_noret luacell_refuse (lua_State *L, int kind) {
  TValue nil;
  CallInfo *ci = L->ci;
  ptrdiff_t top = savestack(L, L->top.p);
  lu_byte stopem = G(L)->gcstopem;
  used_when_refused = budget_used();
  luacell_refused = kind; /* from here on no finalizer runs */
  luacell_budget = TELLING;
  setnilvalue(&nil);
  table_put(L, guest.errors, ERROR_LIMIT, &nil);
  /* In full memory each piece of text would take a full collection. */
  gc_hold(L);
  G(L)->gcstopem = 1;
  luacell_reserve(1);
  luaD_rawrunprotected(L, tell, &kind);
  luacell_reserve(0);
  G(L)->gcstopem = stopem;
  L->ci = ci;
  L->top.p = restorestack(L, top);
  raise_again(L);
}

/* Gives the host an occasion to end the run. */
void budget_ask (lua_State *L) {
  int kind;
  luacell_not_refused(L);
  kind = ask();
  if (kind != 0) luacell_refuse(L, kind);
}

void luacell_budget_spent (lua_State *L) {
  if (luacell_refused) {
    if (undo_goes_on()) return;
    raise_again(L);
  }
  while (luacell_budget < 0) {
    int kind = ask();
    if (kind != 0) luacell_refuse(L, kind);
  }
}

/* For loops in the C libraries, where the build puts it. */
void luacell_budget_spent_here (void) {
  luacell_budget_spent(luacell_running);
}

/* Where an error was caught: go on only if it was not a limit. */
void luacell_not_refused (lua_State *L) {
  if (l_unlikely(luacell_refused)) raise_again(L);
}
