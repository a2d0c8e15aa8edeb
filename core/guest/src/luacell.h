/*
** What all parts of lua.wasm know. One Lua state per instance, so the state is
** static.
**
** The folders are floors, from the top:
**
**   exports.c  what hosts call
**   script/    what scripts find: libraries, 'print', 'require', host functions
**   json/      the module of this name
**   tables/    kept tables: reading and writing, storing, taking back
**   values/    values as bytes, keys as text, what ids and names stand for
**   bigint/    arbitrary-precision integers
**   host/      calls of the host
**   limits/    counting, ending a run, errors
**   base/      memory, bytes, Lua's tables and its collector from C
**   lua/       Lua's settings, what its own files call, parts of the C library
**
** Each has a header, which includes those of the floors below. A file includes
** that of its own floor, so that the compiler knows no function further up.
** What a floor needs of a higher one goes through 'guest.above'. This header
** is that of base/.
*/
#ifndef luacell_h
#define luacell_h

#define LUA_CORE

#include "lprefix.h"

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lua.h"
#include "lauxlib.h"
#include "lualib.h"

#include "lapi.h"
#include "lctype.h"
#include "ldebug.h"
#include "ldo.h"
#include "lfunc.h"
#include "lgc.h"
#include "lmem.h"
#include "lobject.h"
#include "lstate.h"
#include "lstring.h"
#include "ltable.h"
#include "ltm.h"
#include "lvm.h"

#include "protocol.h"

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) \
  __attribute__((import_module("env"), import_name(#name)))

/* Bytes and length of a string value. */
#define svalue(o) getstr(tsvalue(o))
#define vslen(o) tsslen(tsvalue(o))

typedef uint8_t byte;

#ifdef luacell_native  /* `cargo xtask sanitize guest` */
#include "native.h"
#else

/* The two buffers lie at the end of the initial memory, behind what a host
   would keep as the image of a fresh instance. */
#define INITIAL_MEMORY (INITIAL_PAGES * 65536u)
#define IO_START ((byte *)(uintptr_t)(INITIAL_MEMORY - BUFFER_SIZE))
#define INCOMING_START ((byte *)(uintptr_t)(INITIAL_MEMORY - 2 * BUFFER_SIZE))

/* What was read of external tables, before the buffers: among the static
   variables it would be pages of zeros in the image of a fresh instance. */
#define READS_SIZE 12288u
#define READS_START (INCOMING_START - READS_SIZE)

#endif

/*
** Growable bytes, counted against the memory limit. 'fixed' marks a start
** buffer in static memory, which is never freed. What is in a passing one is
** needed for a moment: an error may leave it large, the next run takes that back.
*/
typedef struct Bytes {
  byte *p;
  size_t len;
  size_t cap;
  byte *fixed;
  size_t fixed_cap;
  enum { LASTING, PASSING, PASSING_LISTED } kind;
  struct Bytes *next; /* in the list of passing ones that have grown */
} Bytes;

/* Everything that one instance knows. Tables are anchored in the registry. */
typedef struct Guest {
  lua_State *L; /* NULL before init */
  int revision; /* of the host */
  int transactional; /* the host drops the writes of a failed run */
  int in_transaction; /* several runs are taken back together */
  int keep_failed; /* the host keeps what a failed run wrote */
  unsigned next_id; /* next external table id */
  unsigned home_id;
  unsigned io_id;
  int alias; /* is _home also called Memory? */
  Table *objects; /* weak: id -> table, closure or upvalue */
  Table *anchors; /* strong: id -> metatable of an external table, or that */
  Table *handles; /* strong: handle -> function known to the host */
  Table *handle_of; /* function -> its handle, and how often it was sent */
  Table *builtins; /* name -> built-in */
  Table *builtin_names; /* built-in -> name */
  Table *host_functions; /* weak: name -> host function */
  Table *host_values; /* weak: number -> function without a name, or object */
  Table *classes; /* weak: number -> metatable of such objects */
  TString *length_name; /* "n", in the registry */
  Table *bytecode; /* weak: bytecode -> function without own upvalues */
  Table *cells_held; /* strong: id -> upvalue, while a run lasts */
  Table *cells_saved; /* strong: id -> value in the store */
  Table *cells_before; /* the same before the last run; a NULL for none */
  Table *chunks; /* compiled sources, see chunks.c */
  Table *errors; /* array of the ERROR_ slots: see limits.h */
  Table *host_errors; /* error value -> number that the host gave it */
  Table *recent_errors; /* those values, by the last digits of their number */
  Table *package; /* what scripts see under this name */
  Table *loading; /* weak: name of a module -> thread that loads it */
  Table *bigint_meta; /* of all arbitrary-precision integers */
  Table *task_meta; /* of all tasks */
  Table *tasks; /* strong: number -> task that has not ended */
  Table *requests; /* strong: number -> task that waits for its answer */
  Table *answers; /* number -> answer that came; the first task as 0 */
  unsigned next_handle;
  int depth; /* of runs: a host function may run Lua again */
  CallInfo *run_ci; /* where the present run was entered */
  int kind; /* of the message kept as ERROR_MARKED */
  struct { /* what lower floors call of higher ones; 'init' says what it is */
    int (*ask_limits) (int64_t used, int64_t *ticks);
    int (*call_host) (lua_State *L);
    void (*give_up) (lua_State *L); /* what memory can do without */
    void (*load_closure) (lua_State *L, unsigned id);
    void (*make_external) (lua_State *L, const TValue *v);
  } above;
} Guest;

/* state.c */
extern Guest guest;

/* Host functions that run Lua that calls host functions ... */
#define MAX_DEPTH 32

/* alloc.c */
void *luacell_realloc (void *ptr, size_t osize, size_t nsize);
void luacell_started (void);
size_t luacell_bytes_in_use (void);
size_t luacell_peak_bytes (void);
void luacell_begin_peak (void);
void luacell_set_limit (size_t limit);
int luacell_may_take (size_t bytes);
uintptr_t luacell_memory_start (void);
uintptr_t luacell_memory_end (void);
void luacell_reserve (int flag);
int luacell_was_starved (void);
size_t luacell_buffer_kept (void);
void *luacell_lua_alloc (void *ud, void *ptr, size_t osize, size_t nsize);

/* bytes.c */
int bytes_grow (Bytes *b, size_t extra);
void bytes_release (Bytes *b);
void bytes_begin_run (void);

static inline int bytes_reserve (Bytes *b, size_t extra) {
  return l_likely(extra <= b->cap - b->len) || bytes_grow(b, extra);
}

/*
** Empties the buffer and gives memory back that an unusual run took, or that
** the next one may lack.
*/
static inline void bytes_shrink (Bytes *b) {
  b->len = 0;
  if (b->p != b->fixed && (b->fixed != NULL || b->cap > luacell_buffer_kept()))
    bytes_release(b);
}

static inline int bytes_add (Bytes *b, const void *data, size_t n) {
  if (!bytes_reserve(b, n)) return 0;
  if (n > 0) memcpy(b->p + b->len, data, n);
  b->len += n;
  return 1;
}

/* Numbers in messages: little-endian, wherever they lie. */
static inline void put_u32 (byte *p, uint32_t v) { memcpy(p, &v, sizeof v); }

static inline uint32_t get_u32 (const byte *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

/*
** Room for pushing n values. lua_checkstack would also raise the limit of the
** running function's frame, for good: in a Lua function that adds up.
*/
#ifndef need_stack
#define need_stack(L,n) luaD_checkstack(L, n)
#endif

/* lua_tables.c */
int table_step (const Table *t, unsigned *pos, TValue *key, TValue *val);
void table_put (lua_State *L, Table *t, lua_Integer key, const TValue *val);
void table_clear (lua_State *L, Table *t);
Table *table_new_anchored (lua_State *L, const char *mode);
void push_string (lua_State *L, const char *s, size_t n);
Table *globals_table (void);
int is_globals (const TValue *v);
const char *type_name (lua_State *L, const TValue *v);

/* A table may be marked as a list or as a map, for whoever writes it where an
   empty list is not an empty map. Nothing else looks at the mark. */
unsigned table_shape (const Table *t);
void table_set_shape (Table *t, unsigned shape);
int table_is_list (const Table *t);
int table_list_length (Table *t, unsigned *n);
int is_length_field (const TValue *key);

/* A value in place of nil where tables have to hold it: 'json.null'. */
void null_push (lua_State *L);
int null_is (const TValue *v);

/* gc.c: nothing runs, finalizers least of all, while the guest's own data is
   half done. An error raised by luacell_error releases the hold. */
void gc_hold (lua_State *L);
void gc_release (lua_State *L);
void gc_drop_holds (lua_State *L);
void gc_pin_weak (lua_State *L, const Table *t);

#include "hooks.h"

#endif
