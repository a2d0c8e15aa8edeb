/*
** The guest as a process: its allocator, where errors stop, and the copying
** between its memory and the window that the host sees.
**
** Lua's objects come from malloc one by one and move whenever their size
** changes, so that AddressSanitizer sees each use of one that has gone.
*/
#include "luacell.h"
#include "wire.h"

#include <errno.h>
#include <sanitizer/asan_interface.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exports.h"

_Alignas(16) byte native_io[BUFFER_SIZE];
_Alignas(16) byte native_incoming[BUFFER_SIZE];
_Alignas(16) byte native_reads[READS_SIZE];

/* {== Memory */

static int started; /* are the libraries there? */
static size_t in_use;
static size_t peak;
static size_t limit; /* 0: none */
static int starved; /* was anything refused? */
static size_t reserve; /* what may be taken beyond the limit */
static size_t most = SIZE_MAX; /* that the host lets the guest have */

#define MAX_BLOCK (((size_t)1 << 31) - ((size_t)1 << 20))

void *luacell_realloc (void *ptr, size_t osize, size_t nsize) {
  void *p;
  if (ptr == NULL || osize == 0) {
    ptr = NULL;
    osize = 0;
  }
  if (nsize == 0) {
    free(ptr);
    in_use -= osize;
    return NULL;
  }
  if (nsize > MAX_BLOCK) return NULL;
  if (nsize > osize) {
    size_t growth = nsize - osize;
    size_t bound = limit != 0 && limit < most ? limit + reserve : most;
    if (in_use >= bound || growth > bound - in_use) {
      starved = 1;
      return NULL;
    }
  }
  p = malloc(nsize);
  if (p == NULL) return NULL;
  if (ptr != NULL) {
    memcpy(p, ptr, osize < nsize ? osize : nsize);
    free(ptr);
  }
  in_use += nsize - osize;
  if (in_use > peak) peak = in_use;
  return p;
}

void *luacell_lua_alloc (void *ud, void *ptr, size_t osize, size_t nsize) {
  (void)ud;
  return luacell_realloc(ptr, ptr == NULL ? 0 : osize, nsize);
}

void luacell_started (void) { started = 1; }
size_t luacell_bytes_in_use (void) { return in_use; }
size_t luacell_peak_bytes (void) { return peak; }
void luacell_begin_peak (void) { peak = in_use; }
void luacell_set_limit (size_t bytes) { limit = bytes; }
void luacell_reserve (int flag) { reserve = flag ? (size_t)16 << 10 : 0; }

int luacell_may_take (size_t bytes) { return limit == 0 || bytes <= limit; }
size_t luacell_buffer_kept (void) { return BUFFER_SIZE; }
uintptr_t luacell_memory_start (void) { return 0; }
uintptr_t luacell_memory_end (void) { return UINT32_MAX; }

int luacell_was_starved (void) {
  int was = starved;
  starved = 0;
  return was;
}

/* }== */

/*
** Whether to collect everything, to move the stack, or to have an allocation
** fail at first, at this occasion, when that works on so many bytes. Long runs
** have too many of them: later ones, and those that take long, are taken more
** and more seldom.
*/
static struct native_Occasions { unsigned seen, next; }
    collections, moves, failures;

static int is_due (struct native_Occasions *o, size_t bytes) {
  if (!started || ++o->seen < o->next) return 0;
  o->next = o->seen + 1 + o->seen / 256 + (unsigned)(bytes / 100000);
  return 1;
}

int native_collects (void) { return is_due(&collections, in_use); }
int native_moves (size_t bytes) { return is_due(&moves, bytes); }
int native_fails (void) { return is_due(&failures, in_use); }

static void begin_occasions (void) {
  collections = moves = failures = (struct native_Occasions){0, 0};
}

double luacell_strtod (const char *restrict s, char **restrict end) {
  return strtod(s, end);
}

/* {== Errors */

static jmp_buf *handler;

void luacell_try (void (*f) (lua_State *, void *), lua_State *L, void *ud) {
  jmp_buf here;
  jmp_buf *outer = handler;
  handler = &here;
  if (_setjmp(here) == 0) f(L, ud);
  handler = outer;
}

void luacell_throw (void) {
  if (handler == NULL) abort();
  _longjmp(*handler, 1);
}

/* }== */

/* {== The window */

static byte *window;
static uint32_t args_end = WINDOW_ARGS;
static uint32_t window_size = WINDOW_ARGS;
static int nesting; /* calls of the host that are under way */

static byte *in_window (uint32_t at, size_t n) {
  if (at > WINDOW_SIZE || n > WINDOW_SIZE - at) abort();
  if (at + n > window_size) window_size = (uint32_t)(at + n);
  return window + at;
}

/* Room for an argument, until 'args_end' is what it was. */
static uint32_t take (size_t n) {
  uint32_t at = args_end;
  if (n > WINDOW_LARGE_IO - at) abort();
  in_window(at, n);
  args_end += (uint32_t)((n + 15) / 16 * 16);
  return at;
}

static uint32_t put (const void *p, size_t n) {
  uint32_t at = take(n);
  memcpy(window + at, p, n);
  return at;
}

static byte *io_start (void) { return (byte *)get_buffer_ptr(); }

/* Where the host finds the I/O buffer. */
static uint32_t io_place (void) {
  size_t size = get_buffer_size();
  uint32_t at = io_start() == native_io ? WINDOW_IO : WINDOW_LARGE_IO;
  if (at + size > WINDOW_OUTPUT) abort();
  in_window(at, size);
  return at;
}

static void io_from_host (size_t n) {
  if (n > get_buffer_size()) return; /* the guest will say so */
  memcpy(io_start(), window + io_place(), n);
}

static void io_to_host (int result) {
  size_t n = result < 0 ? (size_t)-(result + 1) : (size_t)result;
  memcpy(window + io_place(), io_start(), n);
}

struct metrics {
  int64_t ticks;
  uint32_t peak, bytes;
  const byte *output; /* what was printed */
  uint32_t len;
  const uint32_t *next_id;
};

/* In the host's window the number of the next table follows the metrics. */
#define WINDOW_NEXT_ID (WINDOW_METRICS + sizeof(struct metrics))

static void metrics_to_host (void) {
  struct metrics m;
  memcpy(&m, (void *)get_run_metrics(), sizeof m);
  if (m.len > 0) memcpy(in_window(WINDOW_OUTPUT, m.len), m.output, m.len);
  m.output = (const byte *)WINDOW_OUTPUT;
  m.next_id = (const uint32_t *)WINDOW_NEXT_ID;
  memcpy(in_window(WINDOW_METRICS, sizeof m), &m, sizeof m);
}

static void next_id_to_host (void) {
  const struct metrics *m = (void *)get_run_metrics();
  memcpy(in_window(WINDOW_NEXT_ID, 4), m->next_id, 4);
}

/* }== */

/* {== Messages */

static void tell (struct message *m) {
  next_id_to_host();
  m->size = window_size;
  while (send(FD_CHANNEL, m, sizeof *m, MSG_NOSIGNAL) != sizeof *m)
    if (errno != EINTR) _exit(0); /* the host has gone */
}

static void hear (struct message *m) {
  ssize_t n;
  while ((n = recv(FD_CHANNEL, m, sizeof *m, 0)) != sizeof *m)
    if (n >= 0 || errno != EINTR) _exit(0);
}

/* {== Exports */

/* So many bytes in the buffer are for the host, or they are an error's. */
static uint32_t told (uint32_t n) {
  io_to_host((int)n);
  return n;
}

static uint32_t ran (uint32_t result) {
  if ((int)result != CODE_RUN_WAITS) told(result);
  if (nesting == 0) metrics_to_host();
  return result;
}

static uint32_t run_export (uint32_t number, const uint32_t *a) {
  switch (number) {
    case NUMBER_compute:
      io_from_host(a[1]);
      return ran(compute(get_buffer_ptr(), a[1]));
    case NUMBER_compute_named:
      io_from_host((size_t)a[0] + a[1] + a[2]);
      return ran(compute_named(a[0], a[1], a[2]));
    case NUMBER_call:
      io_from_host((size_t)a[0] + a[1]);
      return ran(call(a[0], a[1]));
    case NUMBER_call_handle:
      io_from_host(a[1]);
      return ran(call_handle(a[0], a[1]));
    case NUMBER_resume:
      io_from_host(a[0]);
      return ran(resume(a[0]));
    case NUMBER_register_function:
      io_from_host(a[0]);
      return ran(register_function(a[0], a[1]));
    case NUMBER_unregister_function:
      io_from_host(a[0]);
      return ran(unregister_function(a[0], a[1]));
    case NUMBER_forget_tables:
      io_from_host(a[0]);
      forget_tables(a[0]);
      return 0;
    case NUMBER_get_error_details:
      return told(get_error_details());
    case NUMBER_list_table_ids:
      return told(list_table_ids());
    case NUMBER_list_host_values:
      return told(list_host_values());
    case NUMBER_list_requests:
      return told(list_requests());
    case NUMBER_get_buffer_ptr:
      return io_place();
    case NUMBER_reserve_buffer:
      return reserve_buffer(a[0]) == 0 ? 0 : io_place();
    case NUMBER_get_run_metrics:
      metrics_to_host();
      return WINDOW_METRICS;
    case NUMBER_get_memory_stats:
      get_memory_stats((uint32_t)in_window(a[0], 12));
      return 0;
    default: /* those that pass numbers only */
      return plain_export(number, a[0], a[1], a[2]);
  }
}

static void serve (struct message *m) {
  most = m->size;
  if (nesting == 0) begin_occasions();
  m->result = run_export(m->number, m->args);
  m->kind = MESSAGE_RETURN;
  tell(m);
}

/* }== */

/* {== Imports */

/* Meanwhile the host may call exports. */
static int call_host (uint32_t which, uint32_t a, uint32_t b, uint32_t c,
                      uint32_t d, uint32_t e) {
  struct message m = {MESSAGE_IMPORT, which, {a, b, c, d, e}, 0, 0};
  nesting++;
  tell(&m);
  for (;;) {
    hear(&m);
    if (m.kind == MESSAGE_ANSWER) break;
    serve(&m);
  }
  nesting--;
  return (int)m.result;
}

/* Room that the guest offers must be its own, whether it is used or not. */
static void own (void *p, size_t n) {
  if (n > 0 && __asan_region_is_poisoned(p, n) != NULL) {
    static volatile byte read;
    read = *(volatile byte *)__asan_region_is_poisoned(p, n);
    (void)read;
    abort();
  }
}

static int receive (uint32_t before, uint32_t at, byte *val, size_t max,
                    int n) {
  if (n > 0 && (size_t)n <= max) memcpy(val, window + at, (size_t)n);
  args_end = before;
  return n;
}

int js_ext_table_set (unsigned id, const char *key, size_t klen,
                      const byte *val, size_t vlen) {
  uint32_t before = args_end;
  uint32_t k = put(key, klen), v = put(val, vlen);
  int n = call_host(IMPORT_SET, id, k, klen, v, vlen);
  args_end = before;
  return n;
}

int js_ext_table_get (unsigned id, const char *key, size_t klen, byte *val,
                      size_t max) {
  uint32_t before = args_end;
  uint32_t k = put(key, klen), v = take(max);
  own(val, max);
  return receive(before, v, val, max,
                 call_host(IMPORT_GET, id, k, klen, v, max));
}

int js_ext_table_delete (unsigned id, const char *key, size_t klen) {
  uint32_t before = args_end;
  uint32_t k = put(key, klen);
  int n = call_host(IMPORT_DELETE, id, k, klen, 0, 0);
  args_end = before;
  return n;
}

int js_ext_table_size (unsigned id) {
  return call_host(IMPORT_SIZE, id, 0, 0, 0, 0);
}

int js_ext_table_keys (unsigned id, byte *buf, size_t max) {
  uint32_t before = args_end;
  uint32_t v = take(max);
  own(buf, max);
  return receive(before, v, buf, max,
                 call_host(IMPORT_KEYS, id, v, max, 0, 0));
}

/* }== */

int main (void) {
  struct message m;
  window = mmap(NULL, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                FD_WINDOW, 0);
  if (window == MAP_FAILED) abort();
  for (;;) {
    hear(&m);
    serve(&m);
  }
}
