/*
** Shared declarations of the guest: everything that the parts of lua.wasm
** know of each other. One Lua state per instance, so the state is static.
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

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) \
  __attribute__((import_module("env"), import_name(#name)))

/* Bytes and length of a string value. */
#define svalue(o) getstr(tsvalue(o))
#define vslen(o) tsslen(tsvalue(o))

typedef uint8_t byte;

/* Revision of the contract that this guest speaks. */
#define PROTOCOL_REVISION 2

#ifdef luacell_native  /* `cargo xtask sanitize guest` */
#include "native.h"
#else

/* Room that a revision 1 host is sure to have: buffer, values, keys. */
#define BASE_SIZE 65536u

/* The two buffers lie at the end of the initial memory, behind what a host
   would keep as the image of a fresh instance. */
#define INITIAL_MEMORY (INITIAL_PAGES * 65536u)
#define IO_START ((byte *)(uintptr_t)(INITIAL_MEMORY - BASE_SIZE))
#define INCOMING_START ((byte *)(uintptr_t)(INITIAL_MEMORY - 2 * BASE_SIZE))

/* What was read of external tables, before the buffers: among the static
   variables it would be pages of zeros in the image of a fresh instance. */
#define READS_SIZE 12288u
#define READS_START (INCOMING_START - READS_SIZE)

#endif

#define HOME_TABLE_ID 1u
#define IO_TABLE_ID 2u
#define FIRST_FREE_ID 3u
#define CHANNEL_ID 0u

/* Error kinds: numbered once for all languages, see docs/API_REFERENCE.md. */
enum {
  KIND_SYNTAX = 1,
  KIND_RUNTIME = 2,
  KIND_MEMORY = 3,
  KIND_INSTRUCTION_LIMIT = 4,
  KIND_TIMEOUT = 5,
  KIND_INTERRUPTED = 6,
  KIND_OUTPUT_LIMIT = 7,
  KIND_STORE_LIMIT = 8,
  KIND_HOST_CALL_LIMIT = 9,
  KIND_HOST_FUNCTION = 10,
  KIND_CONVERSION = 11,
  KIND_STORE = 12,
  KIND_INVALID_ARGUMENT = 17,
  KIND_INTERNAL = 18
};

/* Value tags: see docs/MEMORY_PROTOCOL.md. */
enum {
  TAG_NIL = 0x00,
  TAG_BOOLEAN = 0x01,
  TAG_INTEGER = 0x02,
  TAG_FLOAT = 0x03,
  TAG_STRING = 0x04,
  TAG_FUNCTION = 0x05,
  TAG_BUILTIN = 0x06,
  TAG_EXTERNAL = 0x07,
  TAG_TABLE = 0x08,
  TAG_BACKREF = 0x09,
  TAG_HANDLE = 0x0A,
  TAG_CLOSURE = 0x0B,
  TAG_CELL = 0x0C,
  TAG_BIGINT = 0x0D
};

/* Operations of the host channel: see docs/HOST_FUNCTION_IMPORTS.md. */
enum {
  CHANNEL_FETCH = 0x00,
  CHANNEL_CALL = 0x01,
  CHANNEL_CLOCK = 0x02,
  CHANNEL_SEED = 0x03,
  CHANNEL_PRINT = 0x04,
  CHANNEL_MODULE = 0x05,
  CHANNEL_LIMITS = 0x06,
  CHANNEL_ENTRIES = 0x07,
  CHANNEL_STORE_FAILURE = 0x08
};

/* Instead of ticks used in a run, where one is taken back. */
#define LIMITS_UNDO ((int64_t)-1)

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

/* An upvalue that is kept in a store as a cell table. */
typedef struct Cell {
  UpVal *uv; /* NULL: free slot */
  unsigned id;
  unsigned next_free;
} Cell;

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
  Table *bytecode; /* weak: bytecode -> function without own upvalues */
  Table *cells_held; /* strong: id -> upvalue, while a run lasts */
  Table *cells_saved; /* strong: id -> value in the store */
  Table *cells_before; /* the same before the last run; a NULL for none */
  Table *chunks; /* compiled sources, see chunks.c */
  Table *errors; /* array of the ERROR_ slots */
  Table *host_errors; /* error value -> number that the host gave it */
  Table *recent_errors; /* those values, by the last digits of their number */
  Table *package; /* what scripts see under this name */
  Table *loading; /* weak: name of a module -> thread that loads it */
  Table *bigint_meta; /* of all arbitrary-precision integers */
  unsigned next_handle;
  int depth; /* of runs: a host function may run Lua again */
  CallInfo *run_ci; /* where the present run was entered */
  int kind; /* of the message kept as ERROR_MARKED */
} Guest;

extern Guest guest;

/* Host functions that run Lua that calls host functions ... */
#define MAX_DEPTH 32

/*
** What is kept of errors, in guest.errors: two values of all runs, then what is
** told of the error of each run, by its depth.
*/
enum { ERROR_MARKED = 1, ERROR_LIMIT, ERROR_TOLD };

/* alloc.c */
void *luacell_realloc (void *ptr, size_t osize, size_t nsize);
void luacell_started (void);
size_t luacell_bytes_in_use (void);
size_t luacell_peak_bytes (void);
void luacell_begin_peak (void);
void luacell_set_limit (size_t limit);
int luacell_may_take (size_t bytes);
void luacell_reserve (int flag);
int luacell_was_starved (void);
void *luacell_lua_alloc (void *ud, void *ptr, size_t osize, size_t nsize);

/* bytes.c */
int bytes_grow (Bytes *b, size_t extra);
void bytes_release (Bytes *b);
void bytes_begin_run (void);

static inline int bytes_reserve (Bytes *b, size_t extra) {
  return l_likely(extra <= b->cap - b->len) || bytes_grow(b, extra);
}

/* Empties the buffer and gives memory back that an unusual run took. */
static inline void bytes_shrink (Bytes *b) {
  b->len = 0;
  if (b->p != b->fixed && (b->fixed != NULL || b->cap > BASE_SIZE))
    bytes_release(b);
}

static inline int bytes_add (Bytes *b, const void *data, size_t n) {
  if (!bytes_reserve(b, n)) return 0;
  if (n > 0) memcpy(b->p + b->len, data, n);
  b->len += n;
  return 1;
}

/* error.c: raise an error whose kind the host will see. */
l_noret luacell_error (lua_State *L, int kind, const char *fmt, ...);
l_noret luacell_memory_error (lua_State *L);
void luacell_mark_error (lua_State *L, int kind, const TValue *message);
int luacell_message_handler (lua_State *L);
void luacell_note_error (lua_State *L);
void luacell_forget_error (int outermost);
void luacell_no_error (void);
void error_make_room (lua_State *L);
void luacell_forget_host_errors (lua_State *L);
int luacell_has_error (void);
void luacell_keep_syntax_error (lua_State *L, const char *chunkname);
void luacell_finish_error (lua_State *L, int status, Bytes *io);
enum { DETAILS_WITH_OUTPUT = 1, DETAILS_ALL = 2 };
int luacell_write_error_details (lua_State *L, int extent);
void luacell_host_error (lua_State *L, uint32_t number);

/*
** Room for pushing n values. lua_checkstack would also raise the limit of the
** running function's frame, for good: in a Lua function that adds up.
*/
#ifndef need_stack
#define need_stack(L,n) luaD_checkstack(L, n)
#endif

/* tables.c */
int table_step (const Table *t, unsigned *pos, TValue *key, TValue *val);
void table_put (lua_State *L, Table *t, lua_Integer key, const TValue *val);
void table_clear (lua_State *L, Table *t);
Table *table_new_anchored (lua_State *L, const char *mode);
void push_string (lua_State *L, const char *s, size_t n);
Table *globals_table (void);
int is_globals (const TValue *v);
const char *type_name (lua_State *L, const TValue *v);

/* gc.c: nothing runs, finalizers least of all, while the guest's own data is
   half done. An error raised by luacell_error releases the hold. */
void gc_hold (lua_State *L);
void gc_release (lua_State *L);
void gc_drop_holds (lua_State *L);
void gc_pin_weak (lua_State *L, const Table *t);

/* path.c: where a value is, for messages */
void path_start (lua_State *L, const char *root);
void path_key (lua_State *L, const TValue *key);
void path_upvalue (lua_State *L, const char *name);
void path_cut (lua_State *L);
const char *path_text (lua_State *L);

/* budget.c: metering */
void budget_set_grant (int ticks);
void budget_begin_run (void);
int64_t budget_used (void);
void budget_review (void);
void budget_reporting (int flag);
void budget_begin_undo (int64_t used);
void budget_tell_undo (void);
void budget_end_undo (void);
int64_t budget_end_run (void);
l_noret luacell_refuse (lua_State *L, int kind);
const char *limit_message (int kind);
void budget_ask (lua_State *L);

/* host.c: the five host functions with retries, and the channel. */
int host_cost (size_t bytes);
byte *host_get (lua_State *L, unsigned id, const char *key, size_t klen,
                size_t *len);
void host_set (lua_State *L, unsigned id, const char *key, size_t klen,
               const byte *val, size_t vlen);
void host_delete (lua_State *L, unsigned id, const char *key, size_t klen);
int host_delete_quietly (unsigned id, const char *key, size_t klen);
unsigned host_size (unsigned id);
const char *host_keys (lua_State *L, unsigned id, size_t *len);
unsigned host_changes (void);
byte *host_request (lua_State *L, const byte *request, size_t n, size_t *len);
int host_call (const byte *request, size_t n, byte *answer, size_t max);
int host_wait (void);
const byte *host_fetch_pushed (lua_State *L, size_t len);

void host_begin_run (void);

/* cache.c: what the run has read. */
const TValue *cache_find (unsigned id, const TValue *key);
void cache_keep (unsigned id, const TValue *key, const TValue *val, int cost);
void cache_drop (unsigned id, const TValue *key);

/* keys.c: Lua keys as text and back. */
const char *key_to_text (lua_State *L, const TValue *key, size_t *len);
void key_from_text (lua_State *L, const char *s, size_t len);
int key_is_storable (const TValue *key);

/* encode.c: results for the host */
void encode_values (lua_State *L, const char *what, int first, int count,
                    Bytes *out);
void put_u32 (byte *p, uint32_t v);
void handle_release (lua_State *L, unsigned handle);

/* decode.c: values from the host or a store, pushed on the stack */
int decode_values (lua_State *L, const byte *p, size_t len);
uint32_t get_u32 (const byte *p);

/* store.c: values as they are stored; plain tables become external */
void store_value (lua_State *L, unsigned id, const char *key, size_t klen,
                  const TValue *val, const TValue *shown_key);
void store_convert (lua_State *L, const TValue *v);
void load_value (lua_State *L, const byte *p, size_t len);

/* closures.c: functions with upvalues in a store */
int closure_is_plain (const LClosure *cl);
void closure_dump (lua_State *L, const TValue *f, Bytes *out);
void closure_load (lua_State *L, unsigned id);
void bytecode_load (lua_State *L, const char *code, size_t len);
void bytecode_known (lua_State *L, const byte *code, size_t len,
                     const TValue *f);
int cell_is_bound (const UpVal *uv);
unsigned cell_id (const UpVal *uv);
void cell_unbind (UpVal *uv);
void cell_bind (lua_State *L, UpVal *uv, unsigned id);
void closures_begin_run (lua_State *L);
void closures_begin_transaction (lua_State *L);
void cells_end_run (lua_State *L);
void cells_unsave (lua_State *L);
void cells_restore (lua_State *L);

/* external.c: Lua tables whose entries live in the host */
void external_push (lua_State *L, unsigned id);
void external_announce (lua_State *L, unsigned id);
unsigned external_shown_id (lua_State *L, Table *t);
void external_keep_metatable (lua_State *L, Table *t, unsigned id);
unsigned external_take_ids (lua_State *L, unsigned count);
void objects_put (lua_State *L, unsigned id, const TValue *v);
const TValue *objects_find (unsigned id);
int made_add (unsigned first, unsigned count);
void made_undo (lua_State *L);
void made_forget (lua_State *L);
int luacell_ext_table (lua_State *L);
void external_list_ids (lua_State *L, Bytes *to);
int external_leave (lua_State *L);
void external_forget (unsigned id);
void external_forget_from (unsigned first);
void external_begin_run (void);
void external_begin_transaction (void);

/* walk.c: going through external tables */
void walk_begin_run (void);
void walk_into (lua_State *L, unsigned id, int into);

/* chunks.c */
int chunk_load (lua_State *L, const char *source, size_t len,
                const char *name, size_t name_len);

/* modules.c */
void modules_open (lua_State *L);

/* bigint.c: see bigint.h for its parts */
typedef struct Big Big;
void bigint_open (lua_State *L);
const Big *big_of (const TValue *v);
void big_push_decimal (lua_State *L, const TValue *v);
int big_push_stored (lua_State *L, const char *s, size_t len);

/* library.c */
void luacell_open_libraries (lua_State *L);
const char *builtin_name (const TValue *v, size_t *len);
int builtin_push (lua_State *L, const char *name, size_t len);

/* host_function.c */
extern int luacell_in_host_call;
void host_function_push (lua_State *L, const char *name, size_t len,
                         unsigned id);
int host_function_is (const TValue *v, unsigned id);
const TValue *host_function_name (const TValue *v);
void builtin_hold (lua_State *L, const TValue *name, const TValue *v);
void builtin_remove (lua_State *L, const char *name);

/* output.c */
extern Bytes luacell_output;
void output_set_limit (size_t bytes);
void output_set_streaming (int flag);
size_t output_so_far (void);
void output_begin_run (void);
int luacell_print (lua_State *L);

#include "hooks.h"

#endif
