/*
** The exports: see docs/WASM_EXPORTS_REFERENCE.md. Whatever runs Lua or may
** raise an error does so in protected mode.
*/
#include "luacell.h"

Guest guest = {.revision = 1, .next_id = FIRST_FREE_ID, .alias = 1};

static Bytes io = {IO_START, 0, BASE_SIZE, IO_START, BASE_SIZE};


enum { RUN_NOTHING, RUN_SOURCE, RUN_GLOBAL, RUN_HANDLE, RUN_REGISTER,
       RUN_UNREGISTER };

/* What the host asked for. */
static struct {
  int what;
  const byte *code; /* source, or the path of a global function */
  size_t code_len;
  const byte *args;
  size_t args_len;
  const char *chunkname;
  size_t chunkname_len;
  unsigned handle;
} request;

static int busy;

static int in_memory (const void *p, size_t n) {
  uint64_t size = (uint64_t)__builtin_wasm_memory_size(0) * 65536;
  return (uint64_t)(uintptr_t)p + n <= size;
}

/* Runs of which this one is part: a host function may run Lua again. */
static int depth;

/* Host functions that run Lua that calls host functions ... */
#define MAX_DEPTH 32

/* May the host call into the guest now? */
static int is_open (void) {
  return guest.L != NULL && (!busy || luacell_in_host_call);
}

/*
** Every export that may reach an error goes through here. 'f' protects
** itself with lua_pcall; what could still escape has no handler in Lua and
** traps in luaD_throw. Inside a host function it is the calling coroutine
** that goes on, and 'f' has to leave its stack as it was.
*/
static void enter (Pfunc f, void *ud) {
  int was_busy = busy;
  int was_in_host_call = luacell_in_host_call;
  busy = 1;
  luacell_in_host_call = 0;
  luacell_try(f, was_busy ? luacell_running : guest.L, ud);
  luacell_in_host_call = was_in_host_call;
  busy = was_busy;
}

static void clear_stack (lua_State *L, int base) {
  L->top.p = L->ci->func.p + 1 + base;
}

/* What is on the stack and not ours: nothing, unless a run is under way. */
static int stack_base (lua_State *L) {
  int base = depth > 0 ? lua_gettop(L) : 0;
  clear_stack(L, base);
  need_stack(L, 10);
  return base;
}

struct Guarded {
  lua_CFunction f;
  int ok;
};

static void run_guarded (lua_State *L, void *ud) {
  struct Guarded *g = ud;
  int base = stack_base(L);
  budget_reporting(1);
  lua_pushcfunction(L, g->f);
  g->ok = lua_pcall(L, 0, 0, 0) == LUA_OK;
  budget_reporting(0);
  gc_drop_holds(L);
  luacell_running = L;
  clear_stack(L, base);
}

/* Runs 'f' protected, with nothing on its stack; 0 when it failed. */
static int guarded (lua_CFunction f) {
  struct Guarded g = {f, 0};
  if (!is_open()) return 0;
  enter(run_guarded, &g);
  return g.ok;
}

/* {== init and settings */

static void name_home (lua_State *L) {
  external_push(L, guest.home_id);
  table_put(L, guest.anchors, guest.home_id, s2v(L->top.p - 1));
  if (guest.alias) {
    lua_pushvalue(L, -1);
    lua_setglobal(L, "Memory");
  }
  lua_setglobal(L, "_home");
}

static int start (lua_State *L) {
  guest.objects = table_new_anchored(L, "v");
  guest.bytecode = table_new_anchored(L, "v");
  guest.anchors = table_new_anchored(L, NULL);
  guest.handles = table_new_anchored(L, NULL);
  guest.builtins = table_new_anchored(L, NULL);
  guest.builtin_names = table_new_anchored(L, NULL);
  guest.cells_held = table_new_anchored(L, NULL);
  guest.cells_saved = table_new_anchored(L, NULL);
  guest.cells_before = table_new_anchored(L, NULL);
  guest.chunks = table_new_anchored(L, NULL);
  guest.errors = table_new_anchored(L, NULL);
  guest.host_errors = table_new_anchored(L, NULL);
  luaH_resize(L, guest.errors, ERROR_SLOTS, 0);
  guest.tm_ring = table_new_anchored(L, NULL);
  luaH_resize(L, guest.tm_ring, 16, 0);
  luacell_open_libraries(L);
  guest.home_id = HOME_TABLE_ID;
  guest.io_id = IO_TABLE_ID;
  name_home(L);
  external_push(L, guest.io_id);
  table_put(L, guest.anchors, guest.io_id, s2v(L->top.p - 1));
  lua_setglobal(L, "_io");
  lua_gc(L, LUA_GCCOLLECT);
  return 0;
}

static void new_state (lua_State *unused, void *ud) {
  (void)unused;
  *(lua_State **)ud = lua_newstate(luacell_lua_alloc, NULL);
}

EXPORT(init)
int init (void) {
  lua_State *L = NULL;
  if (guest.L != NULL) return 0;
  luacell_try(new_state, NULL, &L);
  if (L == NULL) return -1;
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
  guest.revision = revision >= 2 ? 2 : 1;
}

EXPORT(set_transactional)
void set_transactional (int flag) { guest.transactional = flag != 0; }

EXPORT(set_instruction_grant)
void set_instruction_grant (int ticks) { budget_set_grant(ticks); }

EXPORT(review_limits)
size_t review_limits (void) {
  if (depth > 0) budget_review();
  return output_so_far();
}

EXPORT(set_output_limit)
void set_output_limit (size_t bytes) { output_set_limit(bytes); }

EXPORT(set_print_streaming)
void set_print_streaming (int flag) { output_set_streaming(flag); }

EXPORT(set_deterministic)
void set_deterministic (int flag) { luacell_deterministic = flag != 0; }

EXPORT(set_memory_limit)
void set_memory_limit (size_t bytes) { luacell_set_limit(bytes); }

static unsigned attached;

static int attach (lua_State *L) {
  unsigned before = guest.home_id;
  guest.home_id = attached;
  name_home(L);
  if (before != attached && before != guest.io_id) {
    TValue nil;
    setnilvalue(&nil);
    table_put(L, guest.anchors, before, &nil);
  }
  return 0;
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
  if (count > UINT_MAX - first - 1) return 0;
  guest.next_id += count;
  return first;
}

static int set_alias (lua_State *L) {
  external_push(L, guest.home_id);
  if (guest.alias)
    lua_setglobal(L, "Memory");
  else {
    lua_getglobal(L, "Memory");
    if (lua_rawequal(L, -1, -2)) {
      lua_pushnil(L);
      lua_setglobal(L, "Memory");
    }
  }
  return 0;
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

static int full_gc (lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  return 0;
}

EXPORT(run_gc)
void run_gc (void) { guarded(full_gc); }

static int list_ids (lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  io.len = 0;
  external_list_ids(L, &io);
  return 0;
}

EXPORT(list_table_ids)
int list_table_ids (void) { return guarded(list_ids) ? (int)io.len : -1; }

static int drop_handle (lua_State *L) {
  TValue nil;
  setnilvalue(&nil);
  if (!isempty(luaH_getint(guest.handles, request.handle)))
    table_put(L, guest.handles, request.handle, &nil);
  return 0;
}

EXPORT(release_handle)
void release_handle (unsigned handle) {
  request.handle = handle;
  guarded(drop_handle);
}

static int drop_handles (lua_State *L) {
  table_clear(L, guest.handles);
  return 0;
}

EXPORT(forget_handles)
void forget_handles (void) { guarded(drop_handles); }

/* }== */

/* {== Running */

/* Pushes the function that a dotted path names. */
static void push_global (lua_State *L, const char *path, size_t len) {
  const char *end = path + len;
  const char *holder = NULL;
  lua_pushglobaltable(L);
  for (;;) {
    const char *dot = memchr(path, '.', (size_t)(end - path));
    size_t n = (size_t)((dot == NULL ? end : dot) - path);
    const char *name = lua_pushlstring(L, path, n);
    if (holder != NULL && !lua_istable(L, -2))
      luacell_error(L, KIND_RUNTIME,
                    "attempt to index a %s value (field '%s')",
                    luaL_typename(L, -2), holder);
    lua_gettable(L, -2);
    lua_remove(L, -2);
    holder = name; /* still in the globals, or not needed any more */
    if (dot == NULL) {
      if (!lua_isfunction(L, -1) &&
          luaL_getmetafield(L, -1, "__call") == LUA_TNIL) {
        lua_pushlstring(L, (const char *)request.code, request.code_len);
        luacell_error(L, KIND_RUNTIME, "attempt to call a %s value ('%s')",
                      luaL_typename(L, -2), lua_tostring(L, -1));
      }
      lua_settop(L, 1);
      return;
    }
    path = dot + 1;
  }
}

/*
** The table that holds the global with this dotted name, and the name's last
** part on top of it. Tables on the way are made; what is there and no table
** is an error.
*/
static void push_holder (lua_State *L, const char *path, size_t len) {
  const char *end = path + len;
  const char *dot;
  lua_pushglobaltable(L);
  while ((dot = memchr(path, '.', (size_t)(end - path))) != NULL) {
    lua_pushlstring(L, path, (size_t)(dot - path));
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_pushvalue(L, -2);
      lua_pushvalue(L, -2);
      lua_rawset(L, -5);
    }
    if (!lua_istable(L, -1) || hvalue(s2v(L->top.p - 1))->extid != 0)
      luacell_error(L, KIND_INVALID_ARGUMENT,
                    "can't put a function into '%s': it is %s",
                    lua_tostring(L, -2),
                    lua_istable(L, -1) ? "a stored table" : "no table");
    lua_replace(L, -3);
    lua_pop(L, 1);
    path = dot + 1;
  }
  lua_pushlstring(L, path, (size_t)(end - path));
}

static int do_nothing (lua_State *L) {
  (void)L;
  return 0;
}

static void register_name (lua_State *L, const char *path, size_t len,
                           unsigned id) {
  push_holder(L, path, len);
  host_function_push(L, id);
  lua_pushlstring(L, path, len);
  lua_pushvalue(L, -2);
  builtin_add(L, lua_tostring(L, -2));
  lua_settop(L, -3);
  lua_rawset(L, -3);
}

/* Only what is still that function goes. */
static void unregister_name (lua_State *L, const char *path, size_t len,
                             unsigned id) {
  lua_pushlstring(L, path, len);
  builtin_remove(L, lua_tostring(L, -1));
  push_holder(L, path, len);
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  if (host_function_is(s2v(L->top.p - 1), id)) {
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_rawset(L, -3);
  }
}

static void push_target (lua_State *L) {
  switch (request.what) {
    case RUN_REGISTER:
    case RUN_UNREGISTER:
      (request.what == RUN_REGISTER ? register_name : unregister_name)
          (L, (const char *)request.code, request.code_len, request.handle);
      lua_settop(L, 0);
      lua_pushcfunction(L, do_nothing);
      break;
    case RUN_SOURCE:
      if (chunk_load(L, (const char *)request.code, request.code_len,
                     request.chunkname, request.chunkname_len) != LUA_OK) {
        if (lua_type(L, -1) == LUA_TSTRING)
          luacell_keep_syntax_error(L, request.chunkname);
        lua_error(L);
      }
      break;
    case RUN_GLOBAL:
      push_global(L, (const char *)request.code, request.code_len);
      break;
    case RUN_HANDLE: {
      const TValue *f = luaH_getint(guest.handles, request.handle);
      if (isempty(f))
        luacell_error(L, KIND_INVALID_ARGUMENT,
                      "there is no function with handle %d",
                      (int)request.handle);
      setobj2s(L, L->top.p, f);
      api_incr_top(L);
      break;
    }
    default: /* a script found this function and called it */
      luaL_error(L, "not a function for scripts");
  }
}

/*
** The captured text goes in front of the results. What a run inside another
** one prints belongs to the outer one.
*/
static void write_output (lua_State *L) {
  size_t n = depth == 1 ? luacell_output.len : 0;
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

static int run_request (lua_State *L) {
  int n;
  lua_settop(L, 0);
  luaC_checkGC(L); /* small runs might never come to a step of their own */
  if (depth == 1) luacell_forget_host_errors(L);
  push_target(L);
  request.what = RUN_NOTHING;
  n = decode_values(L, request.args, request.args_len);
  if (depth == 1) closures_begin_run(L);
  lua_call(L, n, LUA_MULTRET);
  luacell_not_refused(L);
  n = lua_gettop(L);
  need_stack(L, 20);
  if (depth == 1) cells_end_run(L);
  write_output(L);
  encode_values(L, "result", 1, n, &io);
  return 0;
}

static int undo_step (lua_State *L) {
  cells_unsave(L);
  cells_restore(L);
  made_undo(L);
  return 0;
}

static int keep_step (lua_State *L) {
  cells_end_run(L);
  return 0;
}

/* Index 1: the error value; upvalue-free, so the status comes as index 2. */
static int report_error (lua_State *L) {
  int status = (int)lua_tointeger(L, 2);
  lua_settop(L, 1);
  luacell_finish_error(L, status, &io);
  return 0;
}

/* Of the last run; read by the host where get_run_metrics says. */
static struct {
  int64_t instructions;
  uint32_t peak_bytes;
  uint32_t bytes;
  const byte *output; /* what was captured, until the next run */
  uint32_t output_len;
} metrics;

/* Calls 'f' with nothing but its arguments at the top; pops a failure. */
static void protected_step (lua_State *L, lua_CFunction f, int nargs) {
  lua_pushcfunction(L, f);
  lua_insert(L, -nargs - 1);
  if (lua_pcall(L, nargs, 0, 0) != LUA_OK) lua_pop(L, 1);
  gc_drop_holds(L);
}

static void run_protected (lua_State *L, void *ud) {
  int *result = ud;
  int outermost = depth++ == 0;
  int base, status;
  if (outermost) {
    clear_stack(L, 0);
    base = 0;
  }
  else
    base = stack_base(L);
  lua_pushcfunction(L, luacell_message_handler);
  lua_pushcfunction(L, run_request);
  if (outermost) budget_begin_run();
  status = lua_pcall(L, 0, 0, base + 1);
  gc_drop_holds(L);
  luacell_running = L;
  request.what = RUN_NOTHING;
  if (l_unlikely(status != LUA_OK)) {
    io.len = 0;
    budget_reporting(1);
    lua_pushinteger(L, status);
    protected_step(L, report_error, 2); /* may run __tostring: metered */
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
    if (outermost && guest.transactional)
      protected_step(L, guest.keep_failed ? keep_step : undo_step, 0);
    *result = -(int)io.len - 1;
  }
  else
    *result = (int)io.len;
  clear_stack(L, base);
  depth--;
}

/* The last run had succeeded, and then its writes could not be stored. */
EXPORT(undo_run)
void undo_run (void) {
  if (guest.transactional) guarded(undo_step);
}

static int begin_transaction (lua_State *L) {
  external_begin_transaction();
  closures_begin_transaction(L);
  return 0;
}

EXPORT(set_transaction)
void set_transaction (int flag) {
  guarded(begin_transaction);
  guest.in_transaction = flag != 0;
}

EXPORT(set_keep_failed)
void set_keep_failed (int flag) { guest.keep_failed = flag != 0; }

EXPORT(get_run_metrics)
const void *get_run_metrics (void) { return &metrics; }

static int run (void) {
  int result = -1;
  luacell_forget_reads();
  if (depth == 0) {
    luacell_begin_peak();
    output_begin_run();
    luacell_forget_error();
    host_begin_run();
    decode_begin_run();
    external_begin_run();
  }
  else if (depth >= MAX_DEPTH) {
    io.len = 0;
    if (!bytes_add(&io, "too many runs inside each other", 31)) return -1;
    return -32;
  }
  enter(run_protected, &result);
  return result;
}

static void name_chunk (char *name, size_t room, const byte *from, size_t n) {
  if (n > room - 1) n = room - 1;
  memcpy(name, from, n);
  name[n] = '\0';
  request.chunkname = name;
  request.chunkname_len = n;
}

/*
** luaL_loadstring names a chunk by its source, and messages show the start
** of that; so the start is all that is kept.
*/
static void name_from_source (const byte *code, size_t len) {
  static char name[LUA_IDSIZE + 20];
  name_chunk(name, sizeof name, code, len);
}

EXPORT(compute)
int compute (const byte *code, size_t len) {
  if (!is_open()) return -1;
  if (len == 0) return 0;
  if (len > io.cap || !in_memory(code, len)) return -1;
  request.what = RUN_SOURCE;
  request.code = code;
  request.code_len = len;
  name_from_source(code, len);
  request.args = NULL;
  request.args_len = 0;
  return run();
}

/* Do these lengths, one behind another, fit the buffer? */
static int fit (size_t a, size_t b, size_t c) {
  return (uint64_t)a + b + c <= io.cap;
}

EXPORT(compute_named)
int compute_named (size_t name_len, size_t code_len, size_t args_len) {
  static char name[256];
  if (!is_open() || !fit(name_len, code_len, args_len))
    return -1;
  if (code_len == 0) return 0;
  request.what = RUN_SOURCE;
  request.code = io.p + name_len;
  request.code_len = code_len;
  request.args = request.code + code_len;
  request.args_len = args_len;
  if (name_len > 0)
    name_chunk(name, sizeof name, io.p, name_len);
  else
    name_from_source(request.code, code_len);
  return run();
}

EXPORT(call)
int call (size_t path_len, size_t args_len) {
  if (!is_open() || !fit(path_len, args_len, 0)) return -1;
  request.what = RUN_GLOBAL;
  request.code = io.p;
  request.code_len = path_len;
  request.args = io.p + path_len;
  request.args_len = args_len;
  return run();
}

EXPORT(call_handle)
int call_handle (unsigned handle, size_t args_len) {
  if (!is_open() || !fit(args_len, 0, 0)) return -1;
  request.what = RUN_HANDLE;
  request.handle = handle;
  request.args = io.p;
  request.args_len = args_len;
  return run();
}

/* The name of a host function stands at the start of the buffer. */
static int change_functions (int what, size_t name_len, unsigned id) {
  if (!is_open() || !fit(name_len, 0, 0)) return -1;
  request.what = what;
  request.code = io.p;
  request.code_len = name_len;
  request.handle = id;
  request.args_len = 0;
  return run();
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
static int extent;

static int write_details (lua_State *L) {
  int n = luacell_write_error_details(L, extent);
  io.len = 0;
  encode_values(L, "result", 1, n, &io);
  return 0;
}

EXPORT(get_error_details)
int get_error_details (void) {
  if (guest.L == NULL || !luacell_has_error()) return 0;
  for (extent = DETAILS_ALL; extent >= 0; extent--)
    if (guarded(write_details)) return (int)io.len;
  return 0;
}

/* }== */
