/*
** Tasks: functions of a script that run side by side, each in a Lua thread of
** its own, and may wait.
**
** Who waits is suspended by Lua's own means, from the place of the call up to
** the bottom of its task's thread, through whatever coroutines the script has
** made in between: 'coroutine.resume' and 'wrap' wait along (patch 60). So
** nothing of a task that waits is on C's stack, and when all of them do, the
** guest returns to the host.
*/
#ifndef tasks_h
#define tasks_h

#include "script/script.h"

/* In circular lists, whose head is one too. */
typedef struct Link {
  struct Link *before, *after;
} Link;

typedef enum State {
  FRESH, RUNNING, READY, WAITING, DONE, FAILED, CANCELLED
} State;

struct Group;

/* The content of a userdata, so that scripts can hold it. */
typedef struct Task {
  Link live; /* among the tasks that have not ended, and the failures that
                nobody was told of */
  Link place; /* among those that are ready, or wait for the same task */
  Link kin; /* in its group */
  Link waiters; /* the head: who waits for it */
  Udata *self;
  lua_State *L;
  lua_State *inner; /* the coroutine that called the host */
  State state;
  int status; /* of Lua, when it failed */
  int results; /* at the top of L, when it has ended; an error is one */
  unsigned run; /* which it belongs to */
  unsigned number;
  unsigned request; /* what the host has to answer; 0: it waits for no host */
  int cancelled; /* it ends where it next waits */
  int quiet; /* a finalizer began it, whose errors are nobody's */
  int index; /* in its group */
  struct Group *group; /* which it is part of */
  struct Group *open; /* whose end it waits for */
  struct Task *target; /* the task that it waits for */
} Task;

/* Tasks that are started together: 'task.all' and the like. A userdata too. */
typedef struct Group {
  Link tasks; /* the head: those that have not ended */
  Task *owner; /* NULL for what is no task */
  int open; /* how many have not ended */
  int most; /* of them at a time; 0: any number */
  int next, count; /* the one to be started next, of how many */
  int race; /* does the first one decide? */
  int decided; /* it has */
  int failed; /* status of the first one that failed */
} Group;

/* User values of a task and of a group. */
enum { TASK_THREAD = 1, TASK_GROUP, TASK_VALUES = 2 };
enum { GROUP_RESULTS = 1, GROUP_ERROR, GROUP_OWNER, GROUP_VALUES = 3 };

/* scheduler.c */
Task *task_current (void);
Task *task_check (lua_State *L, int at);
Task *task_new (lua_State *L, int nargs);
void task_run (lua_State *L, Task *t);
void task_cancel (lua_State *L, Task *t);
void task_told (Task *t);
int task_wait_for (lua_State *L, Task *target, lua_KFunction k);
Group *group_new (lua_State *L, int count);
void group_add (lua_State *L, Group *g, int at, Task *t, int index);
int group_wait (lua_State *L, Group *g, lua_KContext ctx, lua_KFunction k);
void group_cancel (lua_State *L, Group *g);
l_noret task_raise (lua_State *L, int status);

#endif
