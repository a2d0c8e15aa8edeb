/*
** The five host functions, with retries when the host names the room that it
** needs, and the channel behind table id 0.
*/
#include "host/host.h"

IMPORT(js_ext_table_set)
extern int js_ext_table_set (unsigned id, const char *key, size_t klen,
                             const byte *val, size_t vlen);
IMPORT(js_ext_table_get)
extern int js_ext_table_get (unsigned id, const char *key, size_t klen,
                             byte *val, size_t max);
IMPORT(js_ext_table_delete)
extern int js_ext_table_delete (unsigned id, const char *key, size_t klen);
IMPORT(js_ext_table_size)
extern int js_ext_table_size (unsigned id);
IMPORT(js_ext_table_keys)
extern int js_ext_table_keys (unsigned id, byte *buf, size_t max);

/* A call of the host, and the bytes that cross. */
int host_cost (size_t bytes) { return 16 + (int)(bytes >> 5); }

/* Each call is a place where the run may end. */
static void count_call (lua_State *L, size_t bytes) {
  luacell_count(host_cost(bytes));
  luacell_look(L);
}

/* Key lists of a revision 1 host are tried up to this size. */
#define MAX_BLIND_KEYS ((size_t)1 << 28)

static Bytes incoming = {.p = INCOMING_START, .cap = BUFFER_SIZE,
                         .fixed = INCOMING_START, .fixed_cap = BUFFER_SIZE,
                         .kind = PASSING};

/* Counts what may have changed a table. */
static unsigned changes;

unsigned host_changes (void) { return changes; }

void host_begin_run (void) {
  changes++;
}

static void make_room (lua_State *L, size_t n) {
  incoming.len = 0;
  if (!bytes_reserve(&incoming, n)) luacell_memory_error(L);
}

static l_noret store_failed (lua_State *L, const char *what, const char *key,
                             size_t klen) {
  static const byte request[] = {OPERATION_STORE_FAILURE};
  size_t n = 0;
  budget_ask(L); /* it may be a limit */
  const byte *reason = host_request(L, request, sizeof request, &n);
  size_t shown = klen < 60 ? klen : 60;
  /* no step of the collector: a finalizer could ask the host something */
  push_string(L, key, shown);
  if (reason != NULL && n > 0) {
    push_string(L, (const char *)reason, n);
    luacell_error(L, KIND_STORE, "the host could not %s '%s': %s", what,
                  lua_tostring(L, -2), lua_tostring(L, -1));
  }
  luacell_error(L, KIND_STORE, "the host could not %s '%s'", what,
                lua_tostring(L, -1));
}

static void check_key (lua_State *L, size_t klen) {
  if (klen > BUFFER_SIZE && guest.revision < 2)
    luacell_error(L, KIND_CONVERSION,
                  "key of %d bytes is too long for this host (%d at most)",
                  (int)klen, (int)BUFFER_SIZE);
}

/* The value, valid until the next call into the host; NULL when absent. */
byte *host_get (lua_State *L, unsigned id, const char *key, size_t klen,
                size_t *len) {
  for (;;) {
    int n = js_ext_table_get(id, key, klen, incoming.p, incoming.cap);
    if (l_likely(n >= 0)) {
      if ((size_t)n > incoming.cap)
        luacell_error(L, KIND_STORE, "the host gave a value of wrong size");
      *len = (size_t)n;
      count_call(L, (unsigned)n + klen);
      return incoming.p;
    }
    count_call(L, klen);
    if (n == CODE_ABSENT) return NULL;
    if (n == CODE_STORE_FAILED) store_failed(L, "read", key, klen);
    if ((size_t)(-(n + 1)) <= incoming.cap) return NULL;
    make_room(L, (size_t)(-(n + 1)));
  }
}

void host_set (lua_State *L, unsigned id, const char *key, size_t klen,
               const byte *val, size_t vlen) {
  check_key(L, klen);
  if (vlen > BUFFER_SIZE && guest.revision < 2)
    luacell_error(L, KIND_CONVERSION,
                  "value of %d bytes is too large for this host (%d at most)",
                  (int)vlen, (int)BUFFER_SIZE);
  count_call(L, klen + vlen);
  changes++;
  if (l_unlikely(js_ext_table_set(id, key, klen, val, vlen) < 0))
    store_failed(L, "store", key, klen);
}

int host_delete_quietly (unsigned id, const char *key, size_t klen) {
  changes++;
  return js_ext_table_delete(id, key, klen);
}

/* -1 means "no such table" too, and then there is nothing to delete. */
void host_delete (lua_State *L, unsigned id, const char *key, size_t klen) {
  check_key(L, klen);
  count_call(L, klen);
  changes++;
  if (l_unlikely(js_ext_table_delete(id, key, klen) == CODE_STORE_FAILED))
    store_failed(L, "delete", key, klen);
}

unsigned host_size (unsigned id) {
  int n = js_ext_table_size(id);
  return n > 0 ? (unsigned)n : 0;
}

/* All keys joined with newlines, valid until the next call into the host. */
const char *host_keys (lua_State *L, unsigned id, size_t *len) {
  *len = 0;
  if (js_ext_table_size(id) == 0) return "";
  for (;;) {
    int n = js_ext_table_keys(id, incoming.p, incoming.cap);
    size_t need;
    if (n >= 0) {
      if ((size_t)n > incoming.cap)
        luacell_error(L, KIND_STORE, "the host gave a key list of wrong size");
      *len = (size_t)n;
      count_call(L, (unsigned)n);
      return (const char *)incoming.p;
    }
    if (n == CODE_STORE_FAILED) store_failed(L, "list the keys of", "table", 5);
    need = (n == CODE_ABSENT) ? incoming.cap * 2 : (size_t)(-(n + 1));
    if (need <= incoming.cap || need > MAX_BLIND_KEYS)
      luacell_error(L, KIND_STORE,
                    "the host gave no key list of at most %d bytes",
                    (int)incoming.cap);
    make_room(L, need);
  }
}

static int fetch (byte *to, size_t room);

/*
** A request to the host; NULL when it does not offer that. The answer is
** valid until the next call into the host.
*/
byte *host_request (lua_State *L, const byte *request, size_t n,
                    size_t *len) {
  int r;
  if (guest.revision < 2) return NULL;
  r = host_call(request, n, incoming.p, incoming.cap);
  if (r >= 0 && (size_t)r <= incoming.cap) {
    *len = (size_t)r;
    return incoming.p;
  }
  if (r >= CODE_ABSENT || r == CODE_STORE_FAILED) return NULL;
  *len = (size_t)(-(r + 1));
  if (*len <= incoming.cap) return NULL;
  make_room(L, *len);
  /* the request itself must not run twice */
  return fetch(incoming.p, incoming.cap) == (int)*len ? incoming.p : NULL;
}

/*
** A call of a host function: unlike a request it may come back into Lua, so
** the answer goes to memory of the caller's own, and a larger one is fetched.
** Below -1: the answer has -(n + 1) bytes and is kept.
*/
int host_call (const byte *request, size_t n, byte *answer, size_t max) {
  int r = js_ext_table_get(TABLE_ID_CHANNEL, (const char *)request, n, answer,
                           max);
  if (l_likely(request[0] == OPERATION_CALL) ||
      request[0] == OPERATION_REQUEST) {
    changes++;
    luacell_forget_reads();
  }
  return r;
}

/* Waits until the host function that was called has its answer ready. */
int host_wait (void) {
  int n = js_ext_table_size(TABLE_ID_CHANNEL);
  changes++;
  luacell_forget_reads();
  return n;
}

static int fetch (byte *to, size_t room) {
  static const byte request[] = {OPERATION_FETCH};
  return js_ext_table_get(TABLE_ID_CHANNEL, (const char *)request,
                          sizeof request, to, room);
}

/*
** An answer that is kept; NULL when the host has lost it. It is pushed as a
** string, for whoever calls the host again while reading it.
*/
const byte *host_fetch_pushed (lua_State *L, size_t len) {
  TString *ts = luaS_createlngstrobj(L, len);
  setsvalue2s(L, L->top.p, ts);
  api_incr_top(L);
  if (fetch((byte *)getstr(ts), len) != (int)len) return NULL;
  return (const byte *)getstr(ts);
}

/*
** For the budget: the kind of the limit that was reached, or 0 and how many
** ticks may follow. The answer comes to a place of its own: the run may be
** looked at while a message of the host is being read.
*/
int host_limits (int64_t used, int64_t *ticks) {
  byte request[9], answer[8];
  request[0] = OPERATION_LIMITS;
  memcpy(request + 1, &used, 8);
  if (guest.revision < 2 ||
      host_call(request, sizeof request, answer, sizeof answer) != 8)
    return 0;
  *ticks = get_u32(answer + 4);
  return (int)get_u32(answer);
}

/* Lua has let go of a function of the host, which passed it so often. The
   collector is at work. */
void host_release (unsigned number, unsigned times) {
  byte message[9], answer[1];
  message[0] = OPERATION_RELEASE;
  put_u32(message + 1, number);
  put_u32(message + 5, times);
  host_call(message, sizeof message, answer, sizeof answer);
}

/* Nobody waits for this answer any more. */
void host_drop_request (unsigned request) {
  byte message[5], answer[1];
  message[0] = OPERATION_DROP;
  put_u32(message + 1, request);
  host_call(message, sizeof message, answer, sizeof answer);
}
