/*
** Tasks from their start to their end, and requests to the host.
*/
#include "script/tasks.h"

int luacell_suspending; /* is a task on its way down to the scheduler? */

static int allowed; /* may the runs that begin from here on wait? */
static int may_wait; /* may the present one? */
static unsigned run; /* which it is, of those with tasks */
static Task *current; /* that runs now */
static Task *main_task; /* that the run began with */
static unsigned last_number; /* of a task */
static unsigned last_request;
static unsigned open_requests;

void tasks_allow (int flag) { allowed = flag != 0; }

int tasks_may_wait (void) { return may_wait; }

Task *task_current (void) { return current; }

/* {== Lists */

static Link live = {&live, &live};
static Link ready = {&ready, &ready};
static Link requiring = {&requiring, &requiring}; /* what another task loads */

static void make_empty (Link *head) { head->before = head->after = head; }

static int is_empty (const Link *head) { return head->after == head; }

static void append (Link *head, Link *l) {
  l->before = head->before;
  l->after = head;
  head->before->after = l;
  head->before = l;
}

/* Out of the list that it is in, if it is in one. */
static void take_out (Link *l) {
  l->before->after = l->after;
  l->after->before = l->before;
  make_empty(l);
}

#define task_by(link, field)  \
	((Task *)((byte *)(link) - offsetof(Task, field)))

static void push_task (lua_State *L, const Task *t) {
  setuvalue(L, s2v(L->top.p), t->self);
  api_incr_top(L);
}

static Task *task_of (const TValue *v) {
  return (Task *)getudatamem(uvalue(v));
}

/* What can be found by number, and is not collected for that. */
static void list (lua_State *L, Table *in, unsigned number, const Task *t) {
  push_task(L, t);
  table_put(L, in, number, s2v(L->top.p - 1));
  lua_pop(L, 1);
}

static void unlist (Table *in, unsigned number) {
  const TValue *v = luaH_getint(in, number);
  if (!isempty(v)) setempty((TValue *)v);
}

static void make_ready (Task *t) {
  take_out(&t->place);
  t->state = READY;
  t->target = NULL;
  t->open = NULL;
  t->inner = NULL;
  append(&ready, &t->place);
}

/* }== */

/* {== Waiting */

/* Can the function that is running wait, and all that called it? */
int luacell_can_wait (lua_State *L) {
  return l_unlikely(may_wait) && current != NULL &&
         (luacell_flags(L) & THREAD_CHAIN) && yieldable(L);
}

/*
** Functions of the library can't be yielded out of, except for 'pcall' and the
** like. Those that wait all the same are marked as they call.
*/
#define CIST_WAITS	(1 << 14)

void luacell_callk (lua_State *L, int nargs, int nresults, lua_KContext ctx,
                    lua_KFunction k) {
  if (luacell_can_wait(L)) L->ci->callstatus |= CIST_WAITS;
  else k = NULL;
  lua_callk(L, nargs, nresults, ctx, k);
}

int luacell_pcallk (lua_State *L, int nargs, int nresults, lua_KContext ctx,
                    lua_KFunction k) {
  if (luacell_can_wait(L)) L->ci->callstatus |= CIST_WAITS;
  else k = NULL;
  return lua_pcallk(L, nargs, nresults, 0, ctx, k);
}

/* May a script yield from here, as far as that goes? */
int luacell_can_yield (lua_State *L) {
  const CallInfo *ci;
  if (luacell_flags(L) & THREAD_TASK) return 0;
  if (may_wait)
    for (ci = L->ci; ci != &L->base_ci; ci = ci->previous)
      if (ci->callstatus & CIST_WAITS) return 0;
  return 1;
}

/* Those that wait along with what they call. */
static int waits_along (const char *name) {
  static const char *const names[] = {"pcall", "xpcall", "tostring", "print",
                                      "string.gsub", "load", "require", NULL};
  int i;
  for (i = 0; names[i] != NULL; i++)
    if (strcmp(name, names[i]) == 0) return 1;
  return 0;
}

/* What it is that can't wait, for messages. */
l_noret tasks_cant_wait (lua_State *L, const char *who) {
  CallInfo *ci;
  if (!may_wait)
    luacell_error(L, KIND_RUNTIME, "%s has to wait, which this run can't",
                  who);
  for (ci = L->ci->previous; !yieldable(L) && ci != NULL && ci != &L->base_ci;
       ci = ci->previous) {
    size_t n;
    const char *name = isLua(ci) ? NULL : builtin_name(s2v(ci->func.p), &n);
    luacell_look(L);
    if (name != NULL && !waits_along(name))
      luacell_error(L, KIND_RUNTIME, "%s can't wait inside '%s'", who, name);
  }
  luacell_error(L, KIND_RUNTIME,
                "%s can't wait here, inside a function that can't", who);
}

/*
** What the running task waits for has been noted. It goes on with 'k'. Nothing
** of it can run before: 'coroutine.resume' and the like refuse its threads.
*/
static int suspend (lua_State *L, lua_KContext ctx, lua_KFunction k) {
  current->state = WAITING;
  luacell_suspending = 1;
  return lua_yieldk(L, 0, ctx, k);
}

int task_wait_for (lua_State *L, Task *target, lua_KFunction k) {
  current->target = target;
  append(&target->waiters, &current->place);
  return suspend(L, 0, k);
}

/* The name of the module is the argument of the function that is running. */
int tasks_wait_for_module (lua_State *L, lua_KFunction k) {
  current->inner = L;
  append(&requiring, &current->place);
  return suspend(L, 0, k);
}

static const TValue *required (const Task *t) {
  return s2v(t->inner->ci->func.p + 1);
}

/* A task that has failed to load a module has told nobody. */
static void wake_requiring (lua_State *L) {
  Link *l = requiring.after;
  while (l != &requiring) {
    Task *t = task_by(l, place);
    l = l->after;
    luacell_look(L);
    if (!module_loads_elsewhere(L, required(t))) make_ready(t);
  }
}

int group_wait (lua_State *L, Group *g, lua_KContext ctx, lua_KFunction k) {
  current->open = g;
  return suspend(L, ctx, k);
}

/*
** Notes a request that the host may answer later, under this number, before the
** host hears of it: then there may be no memory left, and what the host runs
** before it answers may make requests too.
*/
unsigned tasks_begin_request (lua_State *L) {
  unsigned request = last_request + 1;
  list(L, guest.requests, request, current);
  return last_request = request;
}

/* The host has answered at once. */
void tasks_end_request (unsigned request) {
  unlist(guest.requests, request);
  if (request == last_request) last_request--;
}

/*
** The host answers that request later; 'k' finds the answer by 'tasks_answer'.
** The arguments stay where they are, for whoever lists the requests.
*/
int tasks_wait_for_host (lua_State *L, unsigned request, lua_KFunction k) {
  current->request = request;
  current->inner = L;
  open_requests++;
  return suspend(L, (lua_KContext)request, k);
}

/* Pushes the answer to this request. */
const byte *tasks_answer (lua_State *L, unsigned request, size_t *n) {
  const TValue *v = luaH_getint(guest.answers, request);
  if (!ttisstring(v))
    luacell_error(L, KIND_INTERNAL, "a request goes on without its answer");
  need_stack(L, 1);
  setobj2s(L, L->top.p, v);
  api_incr_top(L);
  unlist(guest.answers, request);
  *n = vslen(s2v(L->top.p - 1));
  return (const byte *)svalue(s2v(L->top.p - 1));
}

static void forget_request (Task *t) {
  unlist(guest.requests, t->request);
  t->request = 0;
  open_requests--;
}

/* Who answers twice, or what nobody asked, is not heard. */
static void answer (lua_State *L, unsigned request, const byte *p, size_t n) {
  const TValue *v = luaH_getint(guest.requests, request);
  Task *t;
  if (!ttisfulluserdata(v)) return;
  t = task_of(v);
  push_string(L, (const char *)p, n);
  table_put(L, guest.answers, request, s2v(L->top.p - 1));
  lua_pop(L, 1);
  forget_request(t);
  make_ready(t);
}

/* A message of the host: number, length and answer, one behind another. */
void tasks_read_answers (lua_State *L, const byte *p, size_t n) {
  while (n >= 8) {
    unsigned request = get_u32(p);
    size_t len = get_u32(p + 4);
    p += 8;
    n -= 8;
    if (len > n) break;
    answer(L, request, p, len);
    p += len;
    n -= len;
  }
}

static void list_request (lua_State *L, const Task *t, Bytes *out) {
  lua_State *inner = t->inner;
  int i, n = (int)(inner->top.p - (inner->ci->func.p + 1));
  int first = lua_gettop(L) + 1;
  size_t at = out->len;
  byte head[12];
  if (!bytes_add(out, head, sizeof head)) luacell_memory_error(L);
  luaL_checkstack(L, n + 4, NULL);
  for (i = 0; i < n; i++) {
    setobjs2s(L, L->top.p, inner->ci->func.p + 1 + i);
    api_incr_top(L);
  }
  encode_values(L, "argument", first, n, out);
  lua_settop(L, first - 1);
  put_u32(out->p + at, t->request);
  put_u32(out->p + at + 4, host_function_number(s2v(inner->ci->func.p)));
  put_u32(out->p + at + 8, (uint32_t)(out->len - at - sizeof head));
}

/* All requests that are open: number, host function, length, arguments. */
void tasks_list_requests (lua_State *L, Bytes *out) {
  unsigned request;
  for (request = 1; request <= last_request; request++) {
    const TValue *v = luaH_getint(guest.requests, request);
    if (ttisfulluserdata(v)) list_request(L, task_of(v), out);
  }
}

/* }== */

/* {== The life of a task */

/*
** At the bottom of each task's thread. Scripts see no frame of it (patch 60).
** The message handler lies under the results.
*/
static int task_ended (lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (l_likely(status == LUA_OK || status == LUA_YIELD))
    return lua_gettop(L) - 1;
  current->status = status;
  return 1;
}

static int task_main (lua_State *L) {
  int status;
  lua_pushcfunction(L, luacell_message_handler);
  lua_insert(L, 1);
  status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, task_ended);
  return task_ended(L, status, 0);
}

/*
** A task of the function and its arguments at the top of the stack, which it
** takes the place of.
*/
Task *task_new (lua_State *L, int nargs) {
  Task *t;
  luaL_checkstack(L, 4, "too many arguments");
  t = lua_newuserdatauv(L, sizeof *t, TASK_VALUES);
  memset(t, 0, sizeof *t);
  t->self = uvalue(s2v(L->top.p - 1));
  make_empty(&t->live);
  make_empty(&t->place);
  make_empty(&t->kin);
  make_empty(&t->waiters);
  t->run = run;
  t->quiet = (G(L)->gcstp & GCSTPGC) != 0;
  t->L = lua_newthread(L);
  lua_setiuservalue(L, -2, TASK_THREAD);
  luacell_flags(t->L) = THREAD_TASK | THREAD_CHAIN;
  if (!lua_checkstack(t->L, nargs + 4)) luacell_memory_error(L);
  t->number = last_number + 1;
  list(L, guest.tasks, t->number, t);
  last_number = t->number;
  t->self->metatable = guest.task_meta;
  append(&live, &t->live);
  lua_insert(L, -(nargs + 2));
  lua_pushcfunction(t->L, task_main);
  lua_xmove(L, t->L, nargs + 1);
  return t;
}

/* The task that a script has there. */
Task *task_check (lua_State *L, int at) {
  const TValue *v = lua_isnone(L, at) ? NULL : s2v(L->ci->func.p + at);
  Task *t;
  if (v == NULL || !ttisfulluserdata(v) ||
      uvalue(v)->metatable != guest.task_meta)
    luaL_typeerror(L, at, "task");
  t = task_of(v);
  if (t->run != run && t->state < DONE) t->state = CANCELLED;
  return t;
}

/* Nobody needs to be told of it any more. */
void task_told (Task *t) {
  if (t->run != run) return; /* nor is it in any list */
  take_out(&t->live);
  unlist(guest.tasks, t->number);
}

/* Its group is at the top. */
static void keep_result (lua_State *L, Group *g, Task *t) {
  int i, n = g->race ? t->results : t->results > 0;
  lua_getiuservalue(L, -1, GROUP_RESULTS);
  for (i = 0; i < n; i++) {
    luacell_look(L);
    setobjs2s(L, L->top.p, t->L->top.p - t->results + i);
    api_incr_top(L);
    lua_rawseti(L, -2, g->race ? i + 1 : t->index);
  }
  if (g->race) {
    g->decided = 1;
    g->count = n;
  }
  lua_pop(L, 1);
}

static void leave_group (lua_State *L, Task *t) {
  Group *g = t->group;
  t->group = NULL;
  take_out(&t->kin);
  g->open--;
  if (!g->failed && !g->decided) {
    luaL_checkstack(L, 4, NULL);
    push_task(L, t);
    lua_getiuservalue(L, -1, TASK_GROUP);
    if (t->state == DONE) keep_result(L, g, t);
    else if (t->state == FAILED) {
      setobjs2s(L, L->top.p, t->L->top.p - 1);
      api_incr_top(L);
      lua_setiuservalue(L, -2, GROUP_ERROR);
      g->failed = t->status;
    }
    lua_pop(L, 2);
  }
  task_told(t);
  if (g->owner != NULL && g->owner->state == WAITING && g->owner->open == g &&
      (g->open == 0 || g->failed || g->decided || g->next <= g->count))
    make_ready(g->owner);
}

/* The task has ended, one way or another. */
static void ended (lua_State *L, Task *t) {
  int told = t->state != FAILED || t->quiet || !is_empty(&t->waiters);
  luacell_flags(t->L) |= THREAD_WAITS | THREAD_DONE;
  while (!is_empty(&t->waiters)) {
    luacell_look(L);
    make_ready(task_by(t->waiters.after, place));
  }
  if (t->group != NULL) leave_group(L, t);
  if (told) task_told(t);
}

/* Runs the task, which is on the stack somewhere, until it waits or ends. */
void task_run (lua_State *L, Task *t) {
  Task *outer = current;
  int status, nargs = t->state == FRESH ? lua_gettop(t->L) - 1 : 0;
  current = t;
  t->state = RUNNING;
  luacell_flags(t->L) &= (byte)~THREAD_WAITS;
  status = lua_resume(t->L, L, nargs, &t->results);
  current = outer;
  luacell_not_refused(L);
  if (status == LUA_YIELD) {
    luacell_suspending = 0;
    luacell_flags(t->L) |= THREAD_WAITS;
    if (t->cancelled) task_cancel(L, t);
    return;
  }
  if (status != LUA_OK) { /* even what protects it has failed */
    t->status = status;
    t->results = 1;
  }
  t->state = t->status == LUA_OK ? DONE : FAILED;
  ended(L, t);
}

/*
** Takes the task away from what it waits for, to be ended; 0 when there is
** nothing to do: what has ended stays as it is, and what runs ends when it next
** waits.
*/
static int begin_cancel (lua_State *L, Task *t) {
  if (t->state >= DONE) return 0;
  if (t->state == RUNNING) {
    t->cancelled = 1;
    if (t->group != NULL) leave_group(L, t);
    return 0;
  }
  take_out(&t->place);
  if (t->request != 0) {
    host_drop_request(t->request);
    forget_request(t);
  }
  t->target = NULL;
  t->state = CANCELLED;
  return 1;
}

/*
** Ends the coroutines that the thread waits in, from the innermost. They are
** never more than C's stack allows: each was resumed on it.
*/
static void close_coroutines (lua_State *L, lua_State *thread) {
  lua_State *co = luacell_resumed_by(thread);
  if (co == NULL) return;
  close_coroutines(L, co);
  luacell_flags(co) = 0;
  lua_closethread(co, L);
  lua_settop(co, 0); /* an error of a '__close' handler */
  luacell_not_refused(L);
}

/*
** Ends the task, which is on the stack somewhere, where it waits, and before it
** the tasks whose end it waits for; '__close' handlers run. Scripts nest groups
** as deep as memory allows: C's stack is no place for that.
*/
void task_cancel (lua_State *L, Task *t) {
  const Task *outermost = t;
  luaL_checkstack(L, 2, NULL);
  if (!begin_cancel(L, t)) return;
  push_task(L, t);
  for (;;) { /* at the top is 't', which holds all that are further out */
    Task *next;
    luacell_look(L);
    if (t->open != NULL && !is_empty(&t->open->tasks)) {
      next = task_by(t->open->tasks.after, kin);
      if (!begin_cancel(L, next)) {
        take_out(&next->kin); /* its end is under way */
        continue;
      }
    }
    else {
      next = t == outermost ? NULL : t->group->owner;
      t->open = NULL;
      close_coroutines(L, t->L);
      lua_closethread(t->L, L);
      luacell_not_refused(L);
      ended(L, t);
      if (next == NULL) break;
    }
    push_task(L, next);
    lua_replace(L, -2);
    t = next;
  }
  lua_pop(L, 1);
}

/* }== */

/* {== Groups */

/* Pushes a group of so many tasks. */
Group *group_new (lua_State *L, int count) {
  Group *g = lua_newuserdatauv(L, sizeof *g, GROUP_VALUES);
  memset(g, 0, sizeof *g);
  make_empty(&g->tasks);
  g->owner = current;
  g->next = 1;
  g->count = count;
  lua_newtable(L);
  lua_setiuservalue(L, -2, GROUP_RESULTS);
  if (current != NULL) {
    push_task(L, current);
    lua_setiuservalue(L, -2, GROUP_OWNER);
  }
  return g;
}

/* Puts the task at the top into the group at that index. */
void group_add (lua_State *L, Group *g, int at, Task *t, int index) {
  lua_pushvalue(L, at);
  lua_setiuservalue(L, -2, TASK_GROUP);
  t->group = g;
  t->index = index;
  append(&g->tasks, &t->kin);
  g->open++;
}

void group_cancel (lua_State *L, Group *g) {
  luaL_checkstack(L, 2, NULL);
  while (!is_empty(&g->tasks)) {
    Task *t = task_by(g->tasks.after, kin);
    luacell_look(L);
    push_task(L, t);
    task_cancel(L, t);
    lua_pop(L, 1);
  }
}

/* }== */

/* {== Runs */

/* What the tasks of a run left that was broken off, scripts may still hold. */
static void abandon_coroutines (void) {
  const Link *l;
  for (l = live.after; l != &live; l = l->after) {
    lua_State *co = task_by(l, live)->L;
    while (luacell_flags(co) & THREAD_WAITS) {
      luacell_flags(co) |= THREAD_DONE;
      if ((co = luacell_resumed_by(co)) == NULL) break;
    }
  }
}

/* A run begins. */
void tasks_begin_run (lua_State *L) {
  may_wait = allowed;
  if (last_number == 0) return;
  abandon_coroutines();
  table_clear(L, guest.tasks);
  table_clear(L, guest.requests);
  table_clear(L, guest.answers);
  table_clear(L, guest.loading); /* by what is not running any more */
  make_empty(&live);
  make_empty(&ready);
  make_empty(&requiring);
  current = main_task = NULL;
  last_number = last_request = open_requests = 0;
  luacell_suspending = 0;
  run++;
}

/* With the error at the top, about which all is noted. */
l_noret task_raise (lua_State *L, int status) {
  if (status == LUA_ERRMEM) luacell_memory_error(L);
  gc_drop_holds(L);
  luaD_throw(L, status);
}

static l_noret raise_failure (lua_State *L, const Task *t) {
  setobjs2s(L, L->top.p, t->L->top.p - 1);
  api_incr_top(L);
  task_raise(L, t->status);
}

/* The run fails with what no part of the script was told of. */
void tasks_end_run (lua_State *L) {
  if (l_unlikely(!is_empty(&live))) {
    Task *t = task_by(live.after, live);
    if (t->state == FAILED) raise_failure(L, t);
  }
}

static void cancel_all (lua_State *L) {
  while (!is_empty(&live)) {
    Task *t = task_by(live.after, live);
    luacell_look(L);
    push_task(L, t);
    task_cancel(L, t);
    task_told(t);
    lua_pop(L, 1);
  }
}

/* All tasks that are left wait for each other. */
static l_noret deadlock (lua_State *L) {
  enum { SHOWN = 8 };
  int n = 0;
  const Link *l;
  lua_pushliteral(L, "deadlock: ");
  for (l = live.after; l != &live && n < SHOWN; l = l->after) {
    const Task *t = task_by(l, live);
    luacell_look(L);
    if (t->state != WAITING) continue;
    lua_pushfstring(L, "%stask %d waits for ", n++ > 0 ? ", " : "",
                    (int)t->number);
    if (t->target != NULL) lua_pushfstring(L, "task %d", (int)t->target->number);
    else if (t->inner != NULL)
      lua_pushfstring(L, "module '%s'", svalue(required(t)));
    else lua_pushliteral(L, "tasks of its own");
    lua_concat(L, 3);
  }
  cancel_all(L);
  luacell_error(L, KIND_RUNTIME, "%s", lua_tostring(L, -1));
}

/*
** Runs what is ready until nothing is. The number of the run's results, which
** are at the top then; -1 when the host has to answer something first.
*/
static int run_ready (lua_State *L) {
  const Link *l;
  while (main_task->state != FAILED) {
    Task *t;
    if (is_empty(&ready)) wake_requiring(L);
    if (is_empty(&ready)) break;
    t = task_by(ready.after, place);
    take_out(&t->place);
    luacell_look(L);
    push_task(L, t);
    task_run(L, t);
    lua_pop(L, 1);
  }
  if (main_task->state == FAILED) {
    task_told(main_task);
    cancel_all(L);
    raise_failure(L, main_task);
  }
  if (open_requests > 0) return -1;
  for (l = live.after; l != &live; l = l->after) {
    luacell_look(L);
    if (task_by(l, live)->state == WAITING) deadlock(L);
  }
  luaL_checkstack(L, main_task->results, NULL);
  lua_xmove(main_task->L, L, main_task->results);
  return main_task->results;
}

/* Runs the function with its arguments at the top as the first task. */
int tasks_run (lua_State *L, int nargs) {
  main_task = task_new(L, nargs);
  list(L, guest.answers, 0, main_task); /* there to its end */
  task_run(L, main_task);
  return run_ready(L);
}

/* After the host has answered. */
int tasks_go_on (lua_State *L) {
  luacell_count(1);
  luacell_look(L); /* it may have ended the run */
  return run_ready(L);
}

/* }== */
