/*
** The exports: see docs/WASM_EXPORTS_REFERENCE.md. Whatever runs Lua or may
** raise an error does so in protected mode. The guest's own steps are plain C
** functions there, never functions of Lua: what has no frame of its own, no
** script can find and call.
*/
#include "script/script.h"

static Bytes io = {.p = IO_START, .cap = BUFFER_SIZE, .fixed = IO_START, .fixed_cap = BUFFER_SIZE};

enum { RUN_SOURCE, RUN_GLOBAL, RUN_HANDLE, RUN_REGISTER, RUN_UNREGISTER,
       RUN_COLLECTION, RUN_ANSWERS };

/*
** What the host asked for. It points into the buffer, which belongs to whoever
** comes next: all of it has been read before any code of a script runs.
*/
typedef struct Request {
  int what;
  const byte *code; /* source, or the path of a global function */
  size_t code_len;
  const byte *args;
  size_t args_len;
  const char *chunkname;
  size_t chunkname_len;
  unsigned handle;
} Request;

/* CLOSED: the request of the run still lies in the buffer, and finalizers run. */
enum { IDLE, BUSY, CLOSED };
static int busy;

static int waiting; /* does a run wait for the host? */

static int in_memory (const void *p, size_t n) {
  uint64_t size = (uint64_t)__builtin_wasm_memory_size(0) * 65536;
  return (uint64_t)(uintptr_t)p + n <= size;
}

/* May the host call into the guest now? */
static int is_open (void) {
  return guest.L != NULL && (!busy || (luacell_in_host_call && busy != CLOSED));
}

/*
** Every export that may reach an error goes through here. 'f' protects
** itself with luaD_pcall; what could still escape has no handler in Lua and
** traps in luaD_throw. Inside a host function it is the calling coroutine
** that goes on, and 'f' has to leave its stack as it was.
*/
static void enter (Pfunc f, void *ud) {
  int was_busy = busy;
  int was_in_host_call = luacell_in_host_call;
  int was_in_script = luacell_in_script;
  busy = BUSY;
  luacell_in_host_call = luacell_in_script = 0;
  luacell_try(f, was_busy ? luacell_running : guest.L, ud);
  luacell_in_script = was_in_script;
  luacell_in_host_call = was_in_host_call;
  busy = was_busy;
}

static void clear_stack (lua_State *L, int base) {
  L->top.p = L->ci->func.p + 1 + base;
}

/* What is on the stack and not ours: nothing, unless a run is under way. */
static int stack_base (lua_State *L) {
  int base = guest.depth > 0 ? lua_gettop(L) : 0;
  clear_stack(L, base);
  need_stack(L, LUA_MINSTACK);
  return base;
}

/* Calls 'f' protected; what it leaves on the stack goes. */
static int step (lua_State *L, Pfunc f, void *ud) {
  ptrdiff_t top = savestack(L, L->top.p);
  int status = luaD_pcall(L, f, ud, top, 0);
  L->top.p = restorestack(L, top);
  return status == LUA_OK;
}

struct Guarded {
  Pfunc f;
  int ok;
};

static void run_guarded (lua_State *L, void *ud) {
  struct Guarded *g = ud;
  int base = stack_base(L);
  budget_reporting(1);
  g->ok = step(L, g->f, NULL);
  budget_reporting(0);
  luacell_running = L;
  clear_stack(L, base);
}

/* Runs 'f' protected; 0 when it failed. Nothing of a script runs meanwhile. */
static int guarded (Pfunc f) {
  struct Guarded g = {f, 0};
  if (!is_open()) return 0;
  enter(run_guarded, &g);
  return g.ok;
}

/* {== init and settings */

/* Pops the value of a global. Raw: a metamethod would be code of a script. */
static void set_global (lua_State *L, const char *name) {
  lua_pushglobaltable(L);
  lua_insert(L, -2);
  lua_pushstring(L, name);
  lua_insert(L, -2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

static void name_home (lua_State *L) {
  external_push(L, guest.home_id);
  table_put(L, guest.anchors, guest.home_id, s2v(L->top.p - 1));
  if (guest.alias) {
    lua_pushvalue(L, -1);
    set_global(L, "Memory");
  }
  set_global(L, "_home");
}

static void start (lua_State *L, void *ud) {
  (void)ud;
  guest.objects = table_new_anchored(L, "v");
  guest.bytecode = table_new_anchored(L, "v");
  guest.anchors = table_new_anchored(L, NULL);
  guest.handles = table_new_anchored(L, NULL);
  guest.handle_of = table_new_anchored(L, NULL);
  guest.builtins = table_new_anchored(L, NULL);
  guest.builtin_names = table_new_anchored(L, NULL);
  guest.host_functions = table_new_anchored(L, "v");
  guest.host_values = table_new_anchored(L, "v");
  guest.classes = table_new_anchored(L, "v");
  lua_pushliteral(L, "n");
  guest.length_name = tsvalue(s2v(L->top.p - 1));
  luaL_ref(L, LUA_REGISTRYINDEX);
  guest.cells_held = table_new_anchored(L, NULL);
  guest.cells_saved = table_new_anchored(L, NULL);
  guest.cells_before = table_new_anchored(L, NULL);
  guest.chunks = table_new_anchored(L, NULL);
  guest.errors = table_new_anchored(L, NULL);
  guest.host_errors = table_new_anchored(L, NULL);
  guest.recent_errors = table_new_anchored(L, NULL);
  error_make_room(L);
  luacell_open_libraries(L);
  guest.home_id = TABLE_ID_HOME;
  guest.io_id = TABLE_ID_IO;
  name_home(L);
  external_push(L, guest.io_id);
  table_put(L, guest.anchors, guest.io_id, s2v(L->top.p - 1));
  set_global(L, "_io");
  lua_gc(L, LUA_GCCOLLECT);
}

static void new_state (lua_State *unused, void *ud) {
  (void)unused;
  *(lua_State **)ud = lua_newstate(luacell_lua_alloc, NULL);
}

EXPORT(init)
int init (void) {
  lua_State *L = NULL;
  if (guest.L != NULL) return 0;
  guest.above.ask_limits = host_limits;
  guest.above.call_host = host_function_call;
  guest.above.give_up = chunks_forget;
  guest.above.load_closure = closure_load;
  guest.above.make_external = store_convert;
  luacell_try(new_state, NULL, &L);
  if (L == NULL) return -1;
  memset(lua_getextraspace(L), 0, LUA_EXTRASPACE); /* all threads copy it */
  guest.L = luacell_running = L;
  if (!guarded(start)) {
    guest.home_id = guest.io_id = 0;
    guest.L = NULL; /* its memory is lost: it could not be made anyway */
    return -1;
  }
  luacell_started();
  return 0;
}

EXPORT(get_protocol_revision)
int get_protocol_revision (void) { return PROTOCOL_REVISION; }

EXPORT(set_host_revision)
void set_host_revision (int revision) {
  const int latest = PROTOCOL_REVISION;
  guest.revision = revision < 1 ? 1 : revision < latest ? revision : latest;
}

EXPORT(set_transactional)
void set_transactional (int flag) { guest.transactional = flag != 0; }

EXPORT(set_instruction_grant)
void set_instruction_grant (int ticks) { budget_set_grant(ticks); }

EXPORT(review_limits)
size_t review_limits (void) {
  if (guest.depth > 0) budget_review();
  return output_so_far();
}

EXPORT(set_output_limit)
void set_output_limit (uint32_t bytes) { output_set_limit(bytes); }

EXPORT(set_print_streaming)
void set_print_streaming (int flag) { output_set_streaming(flag); }

EXPORT(set_deterministic)
void set_deterministic (int flag) { luacell_deterministic = flag != 0; }

EXPORT(set_memory_limit)
void set_memory_limit (size_t bytes) { luacell_set_limit(bytes); }

static unsigned attached;

static void attach (lua_State *L, void *ud) {
  unsigned before = guest.home_id;
  (void)ud;
  guest.home_id = attached;
  name_home(L);
  if (before != attached && before != guest.io_id) {
    TValue nil;
    setnilvalue(&nil);
    table_put(L, guest.anchors, before, &nil);
  }
}

EXPORT(attach_memory_table)
void attach_memory_table (unsigned id) {
  attached = id;
  if (id != 0) guarded(attach);
}

EXPORT(get_memory_table_id)
unsigned get_memory_table_id (void) { return guest.home_id; }

EXPORT(get_io_table_id)
unsigned get_io_table_id (void) { return guest.io_id; }

EXPORT(clear_io_table)
void clear_io_table (void) {
  if (guest.L == NULL) return;
  host_delete_quietly(guest.io_id, "input", 5);
  host_delete_quietly(guest.io_id, "output", 6);
  host_delete_quietly(guest.io_id, "meta", 4);
}

EXPORT(sync_external_table_counter)
void sync_external_table_counter (unsigned next_id) {
  if (next_id > guest.next_id) guest.next_id = next_id;
}

EXPORT(allocate_table_ids)
unsigned allocate_table_ids (unsigned count) {
  unsigned first = guest.next_id;
  if (count >= UINT_MAX - first) return 0;
  /* what a host function makes is taken back with the run that called it */
  if ((guest.depth > 0 || guest.in_transaction) && !made_add(first, count))
    return 0;
  guest.next_id += count;
  return first;
}

EXPORT(set_table_counter)
void set_table_counter (unsigned next_id) {
  if (next_id < guest.next_id) external_forget_from(next_id);
  guest.next_id = next_id;
}

static int left;

static void leave_step (lua_State *L, void *ud) {
  (void)ud;
  left = tables_leave(L);
}

/* From here on there are other tables: 'next_id' is the next of theirs. */
EXPORT(leave_tables)
int leave_tables (unsigned next_id) {
  if (waiting || !guarded(leave_step)) return -1;
  if (left == 0) guest.next_id = next_id;
  return left;
}

static void settle_random_step (lua_State *L, void *ud) {
  (void)ud;
  luacell_settle_random(L);
}

EXPORT(settle_random)
void settle_random (void) { guarded(settle_random_step); }

static void set_alias (lua_State *L, void *ud) {
  (void)ud;
  external_push(L, guest.home_id);
  if (guest.alias)
    set_global(L, "Memory");
  else {
    lua_pushglobaltable(L);
    lua_pushliteral(L, "Memory");
    lua_rawget(L, -2);
    if (lua_rawequal(L, -1, -3)) {
      lua_pushnil(L);
      set_global(L, "Memory");
    }
  }
}

EXPORT(set_memory_alias_enabled)
void set_memory_alias_enabled (int flag) {
  guest.alias = flag != 0;
  guarded(set_alias);
}

/* }== */

/* {== Memory */

EXPORT(get_buffer_ptr)
void *get_buffer_ptr (void) { return io.p; }

EXPORT(get_buffer_size)
size_t get_buffer_size (void) { return io.cap; }

EXPORT(reserve_buffer)
void *reserve_buffer (size_t size) {
  if (busy == CLOSED) return NULL;
  if (size <= io.fixed_cap)
    bytes_shrink(&io);
  else {
    io.len = 0;
    if (!bytes_reserve(&io, size)) return NULL;
  }
  return io.p;
}

EXPORT(get_memory_stats)
void get_memory_stats (byte *p) {
  if (!in_memory(p, 12)) return;
  put_u32(p, (uint32_t)io.cap);
  put_u32(p + 4, guest.L == NULL ? 0 : (uint32_t)gettotalbytes(G(guest.L)));
  put_u32(p + 8, (uint32_t)__builtin_wasm_memory_size(0));
}

EXPORT(get_memory_start)
int get_memory_start (void) { return (int)luacell_memory_start(); }

EXPORT(get_memory_end)
int get_memory_end (void) { return (int)luacell_memory_end(); }

static void list_ids (lua_State *L, void *ud) {
  (void)ud;
  lua_gc(L, LUA_GCCOLLECT);
  io.len = 0;
  external_list_ids(L, &io);
}

EXPORT(list_table_ids)
int list_table_ids (void) { return guarded(list_ids) ? (int)io.len : -1; }

static void list_values (lua_State *L, void *ud) {
  (void)ud;
  io.len = 0;
  host_values_list(L, &io);
}

/* A message that failed on its way in may have held functions that never came. */
EXPORT(list_host_values)
int list_host_values (void) { return guarded(list_values) ? (int)io.len : -1; }

static size_t gone_len;

static void forget_gone (lua_State *L, void *ud) {
  size_t i;
  (void)L;
  (void)ud;
  for (i = 0; i + 4 <= gone_len; i += 4) external_forget(get_u32(io.p + i));
}

/* The ids of tables that are gone stand at the start of the buffer. */
EXPORT(forget_tables)
void forget_tables (size_t len) {
  if (len > io.cap) return;
  gone_len = len;
  guarded(forget_gone);
}

/* In a host call: a request may be under way. */
static unsigned released;

static void drop_handle (lua_State *L, void *ud) {
  (void)ud;
  handle_release(L, released);
}

EXPORT(release_handle)
void release_handle (unsigned handle) {
  released = handle;
  guarded(drop_handle);
}

static void drop_handles (lua_State *L, void *ud) {
  (void)ud;
  table_clear(L, guest.handles);
  table_clear(L, guest.handle_of);
}

EXPORT(forget_handles)
void forget_handles (void) { guarded(drop_handles); }

/* }== */

/* {== Running */

/*
** The dotted path at this index becomes the function that it names. On the way
** metamethods of a script may run.
*/
static void find_global (lua_State *L, int at) {
  size_t len;
  const char *path = lua_tolstring(L, at, &len);
  const char *end = path + len;
  const char *holder = NULL; /* the part before this one, and its length */
  size_t holder_len = 0;
  lua_pushglobaltable(L);
  for (;;) {
    const char *dot = memchr(path, '.', (size_t)(end - path));
    size_t n = (size_t)((dot == NULL ? end : dot) - path);
    if (holder != NULL && !lua_istable(L, -1)) {
      const char *type = luaL_typename(L, -1);
      lua_pushlstring(L, holder, holder_len);
      luacell_error(L, KIND_RUNTIME,
                    "attempt to index a %s value (field '%s')", type,
                    lua_tostring(L, -1));
    }
    lua_pushlstring(L, path, n);
    lua_gettable(L, -2);
    lua_remove(L, -2);
    if (dot == NULL) break;
    holder = path;
    holder_len = n;
    path = dot + 1;
  }
  if (!lua_isfunction(L, -1)) {
    if (luaL_getmetafield(L, -1, "__call") == LUA_TNIL)
      luacell_error(L, KIND_RUNTIME, "attempt to call a %s value ('%s')",
                    luaL_typename(L, -1), lua_tostring(L, at));
    lua_pop(L, 1);
  }
  lua_replace(L, at);
}

/* Is this a table that a host function can be put into? */
static int is_holder (lua_State *L) {
  return lua_istable(L, -1) && hvalue(s2v(L->top.p - 1))->extid == 0;
}

/*
** The table that holds the global with this dotted name, and the name's last
** part on top of it; 0 when there is none. To 'make' one, tables on the way are
** made, and what is there and no table is an error. All access is raw.
*/
static int push_holder (lua_State *L, const char *path, size_t len,
                        int make) {
  const char *end = path + len;
  const char *dot;
  lua_pushglobaltable(L);
  while ((dot = memchr(path, '.', (size_t)(end - path))) != NULL) {
    lua_pushlstring(L, path, (size_t)(dot - path));
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (make && lua_isnil(L, -1)) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_pushvalue(L, -2);
      lua_pushvalue(L, -2);
      lua_rawset(L, -5);
    }
    if (!is_holder(L)) {
      if (!make) return 0;
      luacell_error(L, KIND_INVALID_ARGUMENT,
                    "can't put a function into '%s': it is %s",
                    lua_tostring(L, -2),
                    lua_istable(L, -1) ? "a stored table" : "no table");
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
    path = dot + 1;
  }
  lua_pushlstring(L, path, (size_t)(end - path));
  return 1;
}

static void register_name (lua_State *L, const char *path, size_t len,
                           unsigned id) {
  push_holder(L, path, len, 1);
  host_function_push(L, path, len, id);
  lua_rawset(L, -3);
}

/* Only what is still that function goes. */
static void unregister_name (lua_State *L, const char *path, size_t len,
                             unsigned id) {
  lua_pushlstring(L, path, len);
  builtin_remove(L, lua_tostring(L, -1));
  if (!push_holder(L, path, len, 0)) return;
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  if (host_function_is(s2v(L->top.p - 1), id)) {
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_rawset(L, -3);
  }
}

/* Pushes what is to be called; of a global function only its path. */
static void push_target (lua_State *L, const Request *r) {
  const char *code = (const char *)r->code;
  switch (r->what) {
    case RUN_SOURCE:
      if (chunk_load(L, code, r->code_len, r->chunkname, r->chunkname_len) !=
          LUA_OK) {
        if (lua_type(L, -1) == LUA_TSTRING)
          luacell_keep_syntax_error(L, r->chunkname);
        lua_error(L);
      }
      break;
    case RUN_GLOBAL:
      lua_pushlstring(L, code, r->code_len);
      break;
    default: {
      const TValue *f = luaH_getint(guest.handles, r->handle);
      if (isempty(f))
        luacell_error(L, KIND_INVALID_ARGUMENT,
                      "there is no function with handle %d", (int)r->handle);
      setobj2s(L, L->top.p, f);
      api_incr_top(L);
    }
  }
}

/*
** The captured text goes in front of the results. What a run inside another
** one prints belongs to the outer one.
*/
static void write_output (lua_State *L) {
  size_t n = guest.depth == 1 ? luacell_output.len : 0;
  byte head[4];
  io.len = 0;
  if (guest.revision < 2 && n + 4 > io.cap)
    luacell_error(L, KIND_CONVERSION,
                  "printed text of %d bytes is too large for this host "
                  "(%d at most)", (int)n, (int)io.cap);
  put_u32(head, (uint32_t)n);
  if (!bytes_add(&io, head, sizeof head) ||
      !bytes_add(&io, luacell_output.p, n))
    luacell_memory_error(L);
}

/*
** What waits for its finalizer survives the collections that a lack of memory
** causes, and could fill it for good.
*/
static void make_room (lua_State *L) {
  if (!luacell_was_starved()) return;
  busy = CLOSED;
  luacell_in_script = luacell_request_unread = 1;
  luaC_fullgc(L, 0);
  luacell_in_script = luacell_request_unread = 0;
  busy = BUSY;
}

/* Runs what was asked for; the number of its results, at the top, or -1: it
   waits for the host. */
static int run_script (lua_State *L, const Request *r) {
  int at = lua_gettop(L) + 1;
  int n;
  if (guest.depth == 1) make_room(L);
  push_target(L, r);
  n = decode_values(L, r->args, r->args_len);
  if (guest.depth == 1) cells_begin_run(L);
  luacell_in_script = 1;
  luaC_checkGC(L); /* small runs might never come to a step of their own */
  if (r->what == RUN_GLOBAL) find_global(L, at);
  if (guest.depth == 1 && tasks_may_wait()) n = tasks_run(L, n);
  else {
    lua_call(L, n, LUA_MULTRET);
    n = lua_gettop(L) - at + 1;
  }
  luacell_in_script = 0;
  luacell_not_refused(L);
  return n;
}

static int go_on (lua_State *L, const Request *r) {
  int n;
  tasks_read_answers(L, r->args, r->args_len);
  luacell_in_script = 1;
  n = tasks_go_on(L);
  luacell_in_script = 0;
  return n;
}

typedef struct Run {
  Request request;
  int result;
  int waits; /* for the host */
} Run;

static void run_request (lua_State *L, void *ud) {
  Run *run = ud;
  const Request *r = &run->request;
  int n = 0;
  luacell_request_unread = 0; /* an error may have left it */
  error_make_room(L);
  if (guest.depth == 1 && r->what != RUN_ANSWERS) {
    luacell_forget_host_errors(L);
    tasks_begin_run(L);
  }
  switch (r->what) {
    case RUN_REGISTER:
      register_name(L, (const char *)r->code, r->code_len, r->handle);
      break;
    case RUN_UNREGISTER:
      unregister_name(L, (const char *)r->code, r->code_len, r->handle);
      break;
    case RUN_COLLECTION:
      if (guest.depth == 1) cells_begin_run(L);
      luacell_in_script = 1; /* finalizers are */
      lua_gc(L, LUA_GCCOLLECT);
      luacell_in_script = 0;
      luacell_not_refused(L);
      break;
    case RUN_ANSWERS:
      n = go_on(L, r);
      break;
    default:
      n = run_script(L, r);
  }
  run->waits = n < 0;
  if (run->waits) return;
  if (guest.depth == 1) tasks_end_run(L);
  need_stack(L, LUA_MINSTACK);
  if (guest.depth == 1) closures_end_run(L);
  write_output(L);
  encode_values(L, "result", lua_gettop(L) - n + 1, n, &io);
}

/*
** These three run after a run, and nothing of a script with them. What they do
** is proportional to what the run did: to the ids that it took, the entries
** that it stored under them, and the functions with upvalues that are loaded.
*/

static void undo_step (lua_State *L, void *ud) {
  (void)ud;
  cells_unsave(L);
  cells_restore(L);
  tables_undo(L);
}

static void keep_step (lua_State *L, void *ud) {
  (void)ud;
  closures_end_run(L);
}

/* Takes the error value from the top; here '__tostring' may run: metered. */
static void report_error (lua_State *L, void *ud) {
  luacell_finish_error(L, *(int *)ud, &io);
}


/* Of the last run; read by the host where get_run_metrics says. */
static struct {
  int64_t instructions;
  uint32_t peak_bytes;
  uint32_t bytes;
  const byte *output; /* what was captured, until the next run */
  uint32_t output_len;
  const unsigned *next_id; /* for the host to look at after each run */
} metrics = {.next_id = &guest.next_id};

static void undo (lua_State *L) {
  budget_begin_undo(metrics.instructions);
  step(L, undo_step, NULL);
  budget_end_undo();
  tables_forget_made(L); /* no number is left that somebody else may get */
}

static void run_protected (lua_State *L, void *ud) {
  Run *r = ud;
  CallInfo *outer = guest.run_ci;
  int goes_on = r->request.what == RUN_ANSWERS;
  int outermost = goes_on || guest.depth == 0;
  int base = outermost ? 0 : stack_base(L);
  int status;
  ptrdiff_t top;
  if (!goes_on) guest.depth++;
  if (outermost) {
    clear_stack(L, 0);
    need_stack(L, LUA_MINSTACK);
  }
  guest.run_ci = L->ci;
  if (!goes_on) {
    if (outermost) budget_begin_run();
    luacell_forget_error(outermost);
  }
  lua_pushcfunction(L, luacell_message_handler);
  top = savestack(L, L->top.p);
  status = luaD_pcall(L, run_request, r, top,
                      top - (ptrdiff_t)sizeof(StackValue));
  gc_drop_holds(L);
  luacell_running = L;
  if (outermost) waiting = status == LUA_OK && r->waits;
  if (outermost && waiting) {
    metrics.instructions = budget_used();
    r->result = CODE_RUN_WAITS;
    clear_stack(L, base);
    return;
  }
  if (l_unlikely(status != LUA_OK)) {
    io.len = 0;
    budget_reporting(1);
    step(L, report_error, &status); /* may run __tostring: metered */
    budget_reporting(0);
  }
  if (outermost) {
    metrics.instructions = budget_end_run();
    metrics.peak_bytes = (uint32_t)luacell_peak_bytes();
    metrics.bytes = (uint32_t)luacell_bytes_in_use();
    metrics.output = luacell_output.p;
    metrics.output_len = (uint32_t)luacell_output.len;
  }
  if (l_unlikely(status != LUA_OK)) {
    if (outermost && guest.transactional) {
      if (!guest.keep_failed) undo(L);
      else step(L, keep_step, NULL);
    }
    r->result = -(int)io.len - 1;
  }
  else
    r->result = (int)io.len;
  clear_stack(L, base);
  guest.run_ci = outer;
  guest.depth--;
}

static void undo_run_step (lua_State *L, void *ud) {
  (void)ud;
  undo(L);
}

/* The last run had succeeded, and then its writes could not be stored. */
EXPORT(undo_run)
void undo_run (void) {
  if (guest.transactional && !waiting) guarded(undo_run_step);
}

static void begin_transaction (lua_State *L, void *ud) {
  (void)ud;
  made_clear();
  cells_begin_transaction(L);
}

EXPORT(set_transaction)
void set_transaction (int flag) {
  if (waiting) return;
  guarded(begin_transaction);
  guest.in_transaction = flag != 0;
}

EXPORT(set_keep_failed)
void set_keep_failed (int flag) { guest.keep_failed = flag != 0; }

EXPORT(get_run_metrics)
const void *get_run_metrics (void) { return &metrics; }

static int run (const Request *request) {
  Run r = {*request, -1, 0};
  luacell_forget_reads();
  if (request->what == RUN_ANSWERS) host_begin_run();
  else if (guest.depth == 0) {
    luacell_begin_peak();
    output_begin_run();
    host_begin_run();
    bytes_begin_run();
    if (!guest.in_transaction) made_clear();
    walk_begin_run();
  }
  else if (guest.depth >= MAX_DEPTH) {
    io.len = 0;
    luacell_no_error();
    if (!bytes_add(&io, "too many runs inside each other", 31)) return -1;
    return -32;
  }
  enter(run_protected, &r);
  return r.result;
}

/* Collects all garbage, and runs finalizers under the limits of a run. */
EXPORT(run_gc)
void run_gc (void) {
  Request r = {.what = RUN_COLLECTION};
  if (is_open()) run(&r);
}

static void name_chunk (Request *r, char *name, size_t room, const byte *from,
                        size_t n) {
  if (n > room - 1) n = room - 1;
  memcpy(name, from, n);
  name[n] = '\0';
  r->chunkname = name;
  r->chunkname_len = n;
}

/*
** luaL_loadstring names a chunk by its source, and messages show the start
** of that; so the start is all that is kept.
*/
static void name_from_source (Request *r) {
  static char name[LUA_IDSIZE + 20];
  name_chunk(r, name, sizeof name, r->code, r->code_len);
}

EXPORT(compute)
int compute (const byte *code, size_t len) {
  Request r = {.what = RUN_SOURCE};
  if (!is_open()) return -1;
  if (len == 0) return 0;
  if (len > io.cap || !in_memory(code, len)) return -1;
  r.code = code;
  r.code_len = len;
  name_from_source(&r);
  return run(&r);
}

/* Do these lengths, one behind another, fit the buffer? */
static int fit (size_t a, size_t b, size_t c) {
  return (uint64_t)a + b + c <= io.cap;
}

EXPORT(compute_named)
int compute_named (size_t name_len, size_t code_len, size_t args_len) {
  static char name[256];
  Request r = {.what = RUN_SOURCE};
  if (!is_open() || !fit(name_len, code_len, args_len))
    return -1;
  if (code_len == 0) return 0;
  r.code = io.p + name_len;
  r.code_len = code_len;
  r.args = r.code + code_len;
  r.args_len = args_len;
  if (name_len > 0)
    name_chunk(&r, name, sizeof name, io.p, name_len);
  else
    name_from_source(&r);
  return run(&r);
}

EXPORT(call)
int call (size_t path_len, size_t args_len) {
  Request r = {.what = RUN_GLOBAL};
  if (!is_open() || !fit(path_len, args_len, 0)) return -1;
  r.code = io.p;
  r.code_len = path_len;
  r.args = io.p + path_len;
  r.args_len = args_len;
  return run(&r);
}

EXPORT(call_handle)
int call_handle (unsigned handle, size_t args_len) {
  Request r = {.what = RUN_HANDLE};
  if (!is_open() || !fit(args_len, 0, 0)) return -1;
  r.handle = handle;
  r.args = io.p;
  r.args_len = args_len;
  return run(&r);
}

/* Runs that begin from here on may wait. */
EXPORT(set_waiting)
void set_waiting (int flag) { tasks_allow(flag); }

/* Answers to requests of the run that waits stand in the buffer. */
EXPORT(resume)
int resume (size_t len) {
  Request r = {.what = RUN_ANSWERS};
  if (!waiting || busy || !is_open() || !fit(len, 0, 0)) return -1;
  r.args = io.p;
  r.args_len = len;
  return run(&r);
}

static void list_requests_step (lua_State *L, void *ud) {
  (void)ud;
  io.len = 0;
  tasks_list_requests(L, &io);
}

/* What the run that waits has asked the host. */
EXPORT(list_requests)
int list_requests (void) {
  if (!waiting) return 0;
  return guarded(list_requests_step) ? (int)io.len : -1;
}

/*
** A checkpoint: what the run that waits has done so far stays. First Lua hands
** over what the host is still to store.
*/
static void begin_checkpoint_step (lua_State *L, void *ud) {
  (void)ud;
  closures_store_changed(L);
  io.len = 0;
  external_list_ids(L, &io);
}

EXPORT(begin_checkpoint)
int begin_checkpoint (void) {
  if (!waiting || busy || !guarded(begin_checkpoint_step)) return -1;
  return (int)io.len;
}

static void end_checkpoint_step (lua_State *L, void *ud) {
  (void)ud;
  made_clear();
  cells_begin_transaction(L);
  walk_begin_run();
  luacell_forget_reads();
}

/* The host has stored it all. Only what comes later is taken back. */
EXPORT(end_checkpoint)
void end_checkpoint (void) {
  if (waiting && !busy) guarded(end_checkpoint_step);
}

/* The name of a host function stands at the start of the buffer. */
static int change_functions (int what, size_t name_len, unsigned id) {
  Request r = {.what = what};
  if (!is_open() || !fit(name_len, 0, 0)) return -1;
  r.code = io.p;
  r.code_len = name_len;
  r.handle = id;
  return run(&r);
}

EXPORT(register_function)
int register_function (size_t name_len, unsigned id) {
  return change_functions(RUN_REGISTER, name_len, id);
}

EXPORT(unregister_function)
int unregister_function (size_t name_len, unsigned id) {
  return change_functions(RUN_UNREGISTER, name_len, id);
}

/* How much of the error is told: large parts may not fit into memory. */
enum { DETAILS_SHORT, DETAILS_WITH_OUTPUT, DETAILS_ALL };
static int extent;

static void write_details (lua_State *L, void *ud) {
  int at = lua_gettop(L) + 1;
  int n = luacell_write_error_details(
      L, extent >= DETAILS_WITH_OUTPUT ? &luacell_output : NULL,
      extent == DETAILS_ALL);
  (void)ud;
  io.len = 0;
  encode_values(L, "result", at, n, &io);
}

EXPORT(get_error_details)
int get_error_details (void) {
  if (guest.L == NULL || !luacell_has_error()) return 0;
  for (extent = DETAILS_ALL; extent >= DETAILS_SHORT; extent--)
    if (guarded(write_details)) return (int)io.len;
  return 0;
}

/* }== */
