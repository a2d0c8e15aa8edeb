/*
** Ephemeron tables: an entry's value counts as reached only once its key is.
** Lua goes through all such tables again until nothing changes, and a chain
** of entries in a bad order takes a round for each link. So after a few
** rounds the entries that wait are listed by their keys, and marking a key
** finds them: all of it takes one pass. See patch 50.
*/
#include "luacell.h"

typedef struct Waiting {
  GCObject *key, *value;
  unsigned next; /* with the same hash, or ready: place + 1 */
} Waiting;

int luacell_converging;

static Waiting *waiting; /* place 0 on */
static unsigned count, room;
static unsigned *heads; /* place + 1 of the first with each hash */
static unsigned mask;
static unsigned ready; /* place + 1 of the first whose key is marked */
static int failed; /* no memory for the list */

static unsigned *head_of (const GCObject *key) {
  return &heads[((unsigned)(uintptr_t)key * 0x9E3779B1u >> 8) & mask];
}

static void *resized (void *p, size_t from, size_t to, size_t size) {
  if (to > INT_MAX / size) return NULL;
  return luacell_realloc(p, from * size, to * size);
}

/* Twice the room, and as many hashes. */
static int grow (void) {
  unsigned more = room == 0 ? 256 : room * 2, i;
  Waiting *w = resized(waiting, room, more, sizeof *w);
  unsigned *h;
  if (w == NULL) return 0;
  waiting = w;
  h = resized(heads, room, more, sizeof *h);
  if (h == NULL) {
    w = resized(waiting, more, room, sizeof *w);
    if (w != NULL || room == 0) waiting = w;
    return 0;
  }
  heads = h;
  room = more;
  mask = more - 1;
  memset(heads, 0, room * sizeof *heads);
  for (i = 0; i < count; i++) {
    unsigned *head;
    if (waiting[i].key == NULL) continue; /* ready, or done */
    head = head_of(waiting[i].key);
    waiting[i].next = *head;
    *head = i + 1;
  }
  return 1;
}

static void set_ready (unsigned place) {
  waiting[place].key = NULL;
  waiting[place].next = ready;
  ready = place + 1;
}

/* Lists the entries of a table whose values still have to be reached. */
void luacell_wait_for_keys (Table *h) {
  unsigned i;
  for (i = 0; i < (unsigned)sizenode(h) && !failed; i++) {
    const Node *n = gnode(h, i);
    unsigned *head;
    if (isempty(gval(n)) || !iscollectable(gval(n)) || !keyiscollectable(n) ||
        !iswhite(gcvalue(gval(n))))
      continue;
    if (count == room && !grow()) {
      failed = 1;
      return;
    }
    waiting[count].value = gcvalue(gval(n));
    waiting[count].key = gckey(n);
    if (!iswhite(gckey(n)))
      set_ready(count);
    else {
      head = head_of(gckey(n));
      waiting[count].next = *head;
      *head = count + 1;
    }
    count++;
  }
}

/* An object was marked: it may be a key that entries wait for. */
void luacell_key_marked (const GCObject *o) {
  unsigned *from;
  if (room == 0) return;
  from = head_of(o);
  while (*from != 0) {
    unsigned place = *from - 1;
    if (waiting[place].key == o) {
      *from = waiting[place].next;
      set_ready(place);
    }
    else
      from = &waiting[place].next;
  }
}

/*
** Marks all that the ephemeron tables lead to. Without memory for the list
** every value counts as reached: it stays for one collection more.
*/
void luacell_converge (global_State *g) {
  GCObject *o;
  luacell_converging = 1;
  for (o = g->ephemeron; o != NULL; o = gco2t(o)->gclist)
    luacell_wait_for_keys(gco2t(o));
  while (ready != 0) {
    Waiting *w = &waiting[ready - 1];
    ready = w->next;
    luacell_mark(g, w->value);
  }
  luacell_converging = 0;
  if (failed)
    for (o = g->ephemeron; o != NULL; o = gco2t(o)->gclist) {
      unsigned i;
      for (i = 0; i < (unsigned)sizenode(gco2t(o)); i++) {
        const Node *n = gnode(gco2t(o), i);
        if (!isempty(gval(n)) && iscollectable(gval(n)))
          luacell_mark(g, gcvalue(gval(n)));
      }
    }
  luacell_realloc(waiting, room * sizeof *waiting, 0);
  luacell_realloc(heads, room * sizeof *heads, 0);
  waiting = NULL;
  heads = NULL;
  count = room = 0;
  failed = 0;
}
