/*
** Metering. Lua code and library loops take ticks from a budget; when it is
** used up the host is asked, and it grants more or says which limit was
** reached: see refuse.c for what follows.
**
** A tick is about one instruction of the Lua machine: a loop takes the length
** of its body each time round, a call the length of the function, a loop in
** the C libraries one per turn, copying one per 64 bytes.
*/
#include "limits/limits.h"

#undef luacell_budget

/* Enough to never look again soon. */
#define PLENTY (1 << 30)

/* For the message and the traceback of a limit: some milliseconds. */
#define TELLING (1 << 23)

/* For taking a run back, beside twice what it used; so many before the host
   is asked. */
#define UNDOING (1 << 25)
#define UNASKED (1 << 17)

long long luacell_budget = PLENTY;
int luacell_refused; /* kind of the limit that was reached, or 0 */

static int grant; /* what a run starts with; 0: not metered */
static int metered; /* is a run under way? */
static int64_t granted; /* in this run */
static int64_t used_when_refused;
static int64_t undo_left; /* what taking a run back may use once more */

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

/* The limit that was reached, or 0 and how many ticks may follow. */
static int ask_host (int64_t used, int64_t *ticks) {
  *ticks = PLENTY; /* unless the host says how many */
  return guest.above.ask_limits(used, ticks);
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

/* So many ticks from here, whatever was overdrawn. */
static void add_grant (int64_t ticks) {
  int64_t used = budget_used();
  if (ticks <= 0 || ticks > PLENTY) ticks = PLENTY;
  luacell_budget = ticks;
  granted = used + ticks;
}

/* Asks for more: 0 when the run may go on, else the limit that was reached. */
int budget_more (void) {
  int64_t ticks = PLENTY;
  int kind = metered ? ask_host(budget_used(), &ticks) : 0;
  if (kind == 0) add_grant(ticks);
  return kind;
}

/* Whether there is time to go on with taking a run back. */
int budget_undo_goes_on (void) {
  int64_t ticks = PLENTY;
  undo_left += luacell_budget; /* overdrawn */
  if (undo_left <= 0 || (grant > 0 && ask_host(LIMITS_UNDO, &ticks) != 0))
    return undo_left = 0;
  if (ticks > undo_left) ticks = undo_left;
  undo_left -= ticks;
  luacell_budget = ticks;
  return 1;
}

/* The run ends with this limit; what is left is for telling so. */
void budget_refuse (int kind) {
  used_when_refused = budget_used();
  luacell_refused = kind; /* from here on no finalizer runs */
  luacell_budget = TELLING;
}
