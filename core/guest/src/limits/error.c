/*
** Errors: which kind the host sees, where they happened, the traceback.
**
** A kind belongs to one message value. A script that catches the error and
** raises another one makes a new value, and that one is an ordinary Runtime
** error again.
*/
#include "limits/limits.h"

#include <stdarg.h>

/* Does guest.host_errors hold any? */
static int error_from_host;

/*
** What is told of the error of a run. A run inside another one, in a handler
** or a '__close' even, has an error of its own.
*/
enum { VALUE, MESSAGE, CHUNK, TRACEBACK, TOLD_SLOTS };

static struct Told {
  int any;
  int kind;
  int line;
  lua_Integer number; /* that the host gave it */
} told_of[MAX_DEPTH + 2];

#define told (told_of[guest.depth])

static int slot_of (int depth, int what) {
  return ERROR_TOLD + depth * TOLD_SLOTS + what;
}

#define slot(what) slot_of(guest.depth, what)

static const char *const limit_messages[] = {LIMIT_MESSAGES};

const char *limit_message (int kind) {
  size_t n = sizeof limit_messages / sizeof limit_messages[0];
  if (kind > 0 && (size_t)kind < n && limit_messages[kind] != NULL)
    return limit_messages[kind];
  return "stopped by the host";
}

/* Makes room for what is told of this run, so that telling it can't fail. */
void error_make_room (lua_State *L) {
  int depth = guest.depth > 0 ? guest.depth : 1;
  unsigned wanted = (unsigned)slot_of(depth, TOLD_SLOTS);
  if (luaH_realasize(guest.errors) < wanted)
    luaH_resize(L, guest.errors, wanted, 0);
}

/* Does guest.errors hold any? */
static int remembered;

void error_remember (lua_State *L, int at, const TValue *v) {
  remembered = 1;
  table_put(L, guest.errors, at, v);
}

static void forget (int at) {
  const TValue *v = luaH_getint(guest.errors, at);
  if (!isabstkey(v)) setnilvalue((TValue *)v);
}

void luacell_mark_error (lua_State *L, int kind, const TValue *message) {
  error_remember(L, ERROR_MARKED, message);
  guest.kind = kind;
}

l_noret luacell_error (lua_State *L, int kind, const char *fmt, ...) {
  va_list args;
  CallInfo *ci;
  need_stack(L, 8);
  ci = L->ci;
  if (isLua(ci)) {
    Proto *p = ci_func(ci)->p;
    va_start(args, fmt);
    const char *msg = luaO_pushvfstring(L, fmt, args);
    va_end(args);
    luaG_addinfo(L, msg, p->source,
                 luaG_getfuncline(p, pcRel(ci->u.l.savedpc, p)));
  }
  else {
    if (ci == guest.run_ci) lua_pushliteral(L, ""); /* no function's error */
    else luaL_where(L, 1);
    va_start(args, fmt);
    luaO_pushvfstring(L, fmt, args);
    va_end(args);
    lua_concat(L, 2);
  }
  luacell_mark_error(L, kind, s2v(L->top.p - 1));
  gc_drop_holds(L);
  luaG_errormsg(L);
}

l_noret luacell_memory_error (lua_State *L) {
  gc_drop_holds(L);
  luaD_throw(L, LUA_ERRMEM);
}

/* A stack did not grow: for want of memory, if it is not as long as it may be. */
void luacell_no_stack (lua_State *L, int space) {
  if (space <= LUAI_MAXSTACK - (L->top.p - L->stack.p)) luacell_memory_error(L);
}

/* If 'msg' starts with the position "chunk:line:", that line; else 0. */
static int line_after (const char *msg, const char *chunk) {
  size_t n = strlen(chunk);
  int line = 0;
  if (strncmp(msg, chunk, n) != 0 || msg[n] != ':') return 0;
  for (msg += n + 1; lisdigit((byte)*msg); msg++)
    line = (line < INT_MAX / 10 - 1) ? line * 10 + (*msg - '0') : line;
  return *msg == ':' ? line : 0;
}

int luacell_levels (lua_State *L) {
  int levels = (int)L->ci->n;
  if (levels > 0 && (luacell_flags(L) & THREAD_TASK)) levels--;
  return levels;
}

int luacell_getstack (lua_State *L, int level, int last, lua_Debug *ar) {
  CallInfo *ci = L->base_ci.next;
  if (level > last || level <= last / 2) return lua_getstack(L, level, ar);
  if (luacell_flags(L) & THREAD_TASK) ci = ci->next;
  for (; level < last; level++) ci = ci->next;
  ar->i_ci = ci;
  return 1;
}

static void set_place (lua_State *L, const char *chunk, int line) {
  lua_pushstring(L, chunk);
  error_remember(L, slot(CHUNK), s2v(L->top.p - 1));
  lua_pop(L, 1);
  told.line = line;
}

/*
** The place is the one that the message names, if a running function is
** there; else that of the innermost Lua function.
*/
static void find_place (lua_State *L, const char *msg) {
  lua_Debug ar;
  int level, found = 0;
  char chunk[LUA_IDSIZE];
  int line = 0;
  for (level = 0; level < 200 && lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0) continue;
    if (!found) {
      memcpy(chunk, ar.short_src, sizeof chunk);
      line = ar.currentline;
      found = 1;
      if (msg == NULL) break;
    }
    if (line_after(msg, ar.short_src) == ar.currentline) {
      memcpy(chunk, ar.short_src, sizeof chunk);
      line = ar.currentline;
      break;
    }
  }
  if (found) set_place(L, chunk, line);
}

/* Keeps where it happened; the error value is at the top of the stack. */
static void note_error (lua_State *L, int level) {
  int was_in_script = luacell_in_script;
  luacell_in_script = 0; /* here a finalizer would find the handler */
  forget(slot(CHUNK));
  forget(slot(TRACEBACK));
  told.line = 0;
  find_place(L, lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL);
  luaL_traceback(L, L, NULL, level);
  error_remember(L, slot(TRACEBACK), s2v(L->top.p - 1));
  lua_pop(L, 1);
  luacell_in_script = was_in_script;
}

void luacell_note_error (lua_State *L) { note_error(L, 0); }

static void note_kind (lua_State *L);

/*
** Handler of every protected call that a host starts. What is known of the
** error is noted here: '__close' handlers, which come next, may raise others.
*/
int luacell_message_handler (lua_State *L) {
  const TValue *marked = luaH_getint(guest.errors, ERROR_MARKED);
  note_kind(L);
  if (guest.kind == KIND_SYNTAX && luaV_rawequalobj(marked, s2v(L->top.p - 1)))
    return 1; /* the compiler has said where */
  note_error(L, 1); /* without this handler itself */
  return 1;
}

/* The compiler's message is at the top of the stack. */
void luacell_keep_syntax_error (lua_State *L, const char *chunkname) {
  char chunk[LUA_IDSIZE];
  int line;
  luaO_chunkid(chunk, chunkname, strlen(chunkname));
  luacell_mark_error(L, KIND_SYNTAX, s2v(L->top.p - 1));
  line = line_after(lua_tostring(L, -1), chunk);
  forget(slot(TRACEBACK));
  set_place(L, chunk, line);
}

/* At the start of a run. */
void luacell_forget_error (int outermost) {
  int i, end = outermost ? (int)luaH_realasize(guest.errors) + 1
                         : slot(TOLD_SLOTS);
  told.any = 0;
  told.line = 0;
  told.number = 0;
  if (!remembered) return;
  remembered = !outermost;
  for (i = outermost ? ERROR_MARKED : slot(0); i < end; i++) forget(i);
}

/* Of the run that was asked for now nothing is told. */
void luacell_no_error (void) { told_of[guest.depth + 1].any = 0; }

/* {== Which error values are the host's */

/*
** A run that goes on after any number of errors doesn't collect them: the
** earliest are forgotten, as the host does with what it keeps of them.
*/
#define KEPT_ERRORS 1024u
#define KEPT_BYTES ((size_t)1 << 18)
#define TABLE_BYTES ((size_t)1 << 14) /* a guess */

/* In the order in which they came, and the next one. */
static uint32_t oldest, next;
static size_t kept_bytes;

void luacell_forget_host_errors (lua_State *L) {
  if (!error_from_host) return;
  table_clear(L, guest.host_errors);
  table_clear(L, guest.recent_errors);
  oldest = next = 0;
  kept_bytes = 0;
  error_from_host = 0;
}

static size_t size_of (const TValue *v) {
  return ttisstring(v) ? vslen(v) : TABLE_BYTES;
}

/* What guest.host_errors has of a value: its number, and above that ours. */
static lua_Unsigned noted (const TValue *v) {
  const TValue *n = luaH_get(guest.host_errors, v);
  return ttisinteger(n) ? l_castS2U(ivalue(n)) : 0;
}

static void forget_oldest (void) {
  const TValue *v = luaH_getint(guest.recent_errors, oldest % KEPT_ERRORS);
  lua_Unsigned n = noted(v);
  kept_bytes -= size_of(v);
  if (n != 0 && n >> 32 == oldest) /* it did not come again */
    setempty((TValue *)luaH_get(guest.host_errors, v));
  setempty((TValue *)v);
  oldest++;
}

static void note_host_error (lua_State *L, uint32_t number, const TValue *v) {
  size_t size = size_of(v);
  TValue n;
  while (oldest != next && (next - oldest == KEPT_ERRORS ||
                            kept_bytes + size > KEPT_BYTES))
    forget_oldest();
  table_put(L, guest.recent_errors, next % KEPT_ERRORS, v);
  kept_bytes += size;
  setivalue(&n, l_castU2S((lua_Unsigned)next++ << 32 | number));
  luaH_set(L, guest.host_errors, v, &n);
  luaC_barrierback(L, obj2gco(guest.host_errors), v);
  invalidateTMcache(guest.host_errors);
}

static int is_nan (const TValue *v) {
  return ttisfloat(v) && luai_numisnan(fltvalue(v));
}

/*
** The error value at the top of the stack came from a host function, which
** knows it by this number.
*/
void luacell_host_error (lua_State *L, uint32_t number) {
  const TValue *v = s2v(L->top.p - 1);
  error_from_host = 1;
  if (ttisnil(v) || is_nan(v)) return;
  note_host_error(L, number, v);
  luacell_mark_error(L, KIND_HOST_FUNCTION, s2v(L->top.p - 1));
}

/* The number of this error value; 0 when it is not from a host function. */
static lua_Integer host_error_number (const TValue *v) {
  return ttisnil(v) ? 0 : (lua_Integer)(uint32_t)noted(v);
}

/* }== */

/*
** Puts a position in front of the message at the top: where the host knows
** the one, it knows the other. The kind goes along too.
*/
void luacell_concat_error (lua_State *L) {
  lua_Integer number =
      error_from_host ? host_error_number(s2v(L->top.p - 1)) : 0;
  lua_concat(L, 2);
  if (number != 0) luacell_host_error(L, (uint32_t)number);
}

/* Was there one in the run that ended just now? */
int luacell_has_error (void) { return told_of[guest.depth + 1].any; }

/* Puts the message text of the error value at the top in its place. */
static void make_message (lua_State *L, void *ud) {
  int at = lua_gettop(L);
  (void)ud;
  if (lua_type(L, at) == LUA_TSTRING) return;
  luacell_in_script = 1;
  if (luaL_callmeta(L, at, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
    ;
  else if (lua_type(L, at) == LUA_TNUMBER) {
    lua_pushvalue(L, at);
    lua_tolstring(L, -1, NULL);
  }
  else
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, at));
  luacell_in_script = 0;
  lua_replace(L, at);
  lua_settop(L, at);
}

/* Notes the error value at the top of the stack and its kind. */
static void note_kind (lua_State *L) {
  const TValue *v = s2v(L->top.p - 1);
  const TValue *marked = luaH_getint(guest.errors, ERROR_MARKED);
  told.number = host_error_number(v);
  if (!ttisnil(marked) && luaV_rawequalobj(marked, v)) told.kind = guest.kind;
  else told.kind = told.number != 0 ? KIND_HOST_FUNCTION : KIND_RUNTIME;
  error_remember(L, slot(VALUE), v);
}

/* What ended the run, with the error value at the top of the stack. */
static void find_kind (lua_State *L, int status) {
  const TValue *noted = luaH_getint(guest.errors, slot(VALUE));
  if (luacell_refused) told.kind = luacell_refused;
  else if (status == LUA_ERRMEM) {
    forget(slot(CHUNK));
    forget(slot(TRACEBACK));
    told.line = 0;
    told.kind = KIND_MEMORY;
    told.number = 0;
  }
  else if (isempty(noted) || !luaV_rawequalobj(noted, s2v(L->top.p - 1)))
    note_kind(L);
}

/*
** The error value is at the top of the stack and is popped. Writes the
** message to the start of the I/O buffer.
*/
void luacell_finish_error (lua_State *L, int status, Bytes *io) {
  const TValue *limit;
  size_t len;
  const char *msg;
  told.any = 1;
  find_kind(L, status);
  error_remember(L, slot(VALUE), s2v(L->top.p - 1));
  if (!luacell_refused &&
      luaD_pcall(L, make_message, NULL, savestack(L, L->top.p - 1), 0) !=
          LUA_OK &&
      lua_type(L, -1) != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushliteral(L, "error in error handling");
  }
  if (luacell_refused) { /* maybe while the message was made */
    told.kind = luacell_refused;
    limit = luaH_getint(guest.errors, ERROR_LIMIT);
    if (ttisstring(limit)) {
      setobj2s(L, L->top.p - 1, limit);
    }
    else { /* there was no memory for it */
      lua_pop(L, 1);
      lua_pushstring(L, limit_message(luacell_refused));
    }
    error_remember(L, slot(VALUE), s2v(L->top.p - 1));
  }
  error_remember(L, slot(MESSAGE), s2v(L->top.p - 1));
  msg = lua_tolstring(L, -1, &len);
  io->len = 0;
  if (guest.revision >= 2) {
    if (!bytes_reserve(io, len)) len = io->cap;
  }
  else if (len > BUFFER_SIZE)
    len = BUFFER_SIZE;
  memcpy(io->p, msg, len);
  io->len = len;
  lua_pop(L, 1);
}

static void push_slot (lua_State *L, int what) {
  const TValue *v =
      luaH_getint(guest.errors, slot_of(guest.depth + 1, what));
  if (isempty(v))
    lua_pushnil(L);
  else {
    setobj2s(L, L->top.p, v);
    api_incr_top(L);
  }
}

/* Pushes the parts in the order that MEMORY_PROTOCOL.md gives. */
int luacell_write_error_details (lua_State *L, const Bytes *output,
                                 int with_value) {
  const struct Told *t = &told_of[guest.depth + 1];
  need_stack(L, LUA_MINSTACK);
  lua_pushinteger(L, t->kind);
  push_slot(L, MESSAGE);
  push_slot(L, CHUNK);
  if (t->line > 0) lua_pushinteger(L, t->line);
  else lua_pushnil(L);
  push_slot(L, TRACEBACK);
  if (output != NULL)
    lua_pushlstring(L, (const char *)output->p, output->len);
  else
    lua_pushnil(L);
  push_slot(L, VALUE);
  if (!with_value || lua_type(L, -1) == LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushnil(L);
  }
  lua_pushinteger(L, t->number);
  return 8;
}
