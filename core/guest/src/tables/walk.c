/*
** Going through external tables. Entries come from the host in portions, so
** that a table may be larger than the memory here; a host that does not offer
** that gives all keys at once.
**
** A portion is a string. Its first byte says what follows it; then come
** entries: u32 length of the key, u32 length of the value or NO_VALUE, key,
** value. The values are those of the moment when it was made: once something
** may have been written, they are asked for again.
*/
#include "tables/tables.h"

/* How many entries are asked for: few at first, for who stops early. */
#define FIRST_COUNT 16u
#define MAX_COUNT 4096u

typedef struct Entry {
  const char *key;
  size_t klen;
  const byte *val; /* NULL: not in the portion */
  size_t vlen;
  size_t next; /* place of the next entry */
} Entry;

/* The entry at this place; 0 when there is none. */
static int entry_at (const char *p, size_t len, size_t pos, Entry *e) {
  const byte *b = (const byte *)p + pos;
  size_t left;
  if (pos > len || len - pos < 8) return 0;
  left = len - pos - 8;
  e->klen = get_u32(b);
  e->vlen = get_u32(b + 4);
  e->val = NULL;
  if (e->klen > left) return 0;
  e->key = (const char *)b + 8;
  if (e->vlen == NO_VALUE)
    e->vlen = 0;
  else {
    e->val = b + 8 + e->klen;
    if (e->vlen > left - e->klen) return 0;
  }
  e->next = pos + 8 + e->klen + e->vlen;
  return 1;
}

/* All keys in the form of a portion, for a host that gives no portions. */
static void push_whole (lua_State *L, unsigned id) {
  static Bytes out = {.kind = PASSING};
  size_t len, pos = 0;
  const char *keys = host_keys(L, id, &len);
  byte head[8];
  head[0] = PORTION_WHOLE;
  out.len = 0;
  if (!bytes_add(&out, head, 1)) luacell_memory_error(L);
  while (pos < len) {
    const char *end = memchr(keys + pos, '\n', len - pos);
    size_t n = end == NULL ? len - pos : (size_t)(end - (keys + pos));
    put_u32(head, (uint32_t)n);
    put_u32(head + 4, NO_VALUE);
    if (!bytes_add(&out, head, 8) || !bytes_add(&out, keys + pos, n))
      luacell_memory_error(L);
    pos += n + 1;
  }
  push_string(L, (const char *)out.p, out.len);
  bytes_shrink(&out);
}

/*
** Pushes the portion behind a key, or the first one; 0 and nothing when the
** host knows no such key.
*/
static int push_portion (lua_State *L, unsigned id, const char *after,
                         size_t alen, unsigned count) {
  static Bytes request = {.kind = PASSING};
  byte head[10];
  const byte *answer;
  size_t n;
  if (guest.revision < 2) {
    push_whole(L, id);
    return 1;
  }
  head[0] = OPERATION_ENTRIES;
  put_u32(head + 1, id);
  put_u32(head + 5, count);
  head[9] = after != NULL;
  request.len = 0;
  if (!bytes_add(&request, head, sizeof head) ||
      (after != NULL && !bytes_add(&request, after, alen)))
    luacell_memory_error(L);
  answer = host_request(L, request.p, request.len, &n);
  bytes_shrink(&request);
  if (answer == NULL) {
    push_whole(L, id);
    return 1;
  }
  luacell_count(16 + (n >> 5));
  if (n == 0) return 0;
  push_string(L, (const char *)answer, n);
  return 1;
}

/*
** Pushes the portion behind the last key of this one. Of keys that were there
** when it was made, some may be gone: only a run that has ended forgets their
** places.
*/
static int push_following (lua_State *L, unsigned id, const char *p,
                           size_t len, unsigned count, int is_first) {
  size_t n = 0, pos = 1;
  Entry e;
  while (entry_at(p, len, pos, &e)) {
    n++;
    pos = e.next;
  }
  while (n > 0) {
    size_t i;
    for (i = 0, pos = 1; i < n && entry_at(p, len, pos, &e); i++) pos = e.next;
    luacell_look(L);
    if (push_portion(L, id, e.key, e.klen, count)) return 1;
    n--;
  }
  return is_first && push_portion(L, id, NULL, 0, count);
}

/* Pushes key and value of an entry; 0 when it is not there any more. */
static int push_entry (lua_State *L, unsigned id, const Entry *e,
                       unsigned stamp) {
  const byte *val = e->val;
  size_t n = e->vlen;
  luacell_count(4 + (e->klen >> 5));
  if (val == NULL || stamp != host_changes())
    val = host_get(L, id, e->key, e->klen, &n);
  if (val == NULL || (n == 1 && val[0] == TAG_NIL)) return 0;
  gc_hold(L);
  key_from_text(L, e->key, e->klen);
  if (n == 9 && val[0] == TAG_INTEGER) {
    lua_Integer i;
    memcpy(&i, val + 1, 8);
    lua_pushinteger(L, i);
  }
  else
    load_value(L, val, n);
  gc_release(L);
  return 1;
}

/*
** A walk that 'pairs' began: upvalues of its function. It holds the table itself:
** the number alone may be another table's by the time it goes on.
*/
enum { WALK_PORTION = 1, WALK_PLACE, WALK_TABLE, WALK_STAMP, WALK_COUNT };

#define upvalue(n) (&clCvalue(s2v(L->ci->func.p))->upvalue[(n) - 1])

/* Takes the portion at the top as the present one. */
static void walk_on (lua_State *L, unsigned count) {
  lua_replace(L, lua_upvalueindex(WALK_PORTION));
  setivalue(upvalue(WALK_PLACE), 1);
  setivalue(upvalue(WALK_STAMP), host_changes());
  setivalue(upvalue(WALK_COUNT), count);
}

static int pairs_next (lua_State *L) {
  unsigned id = hvalue(upvalue(WALK_TABLE))->extid;
  const char *p;
  size_t len, pos;
  Entry e;
  if (id == 0) /* the run that stored it was taken back */
    luaG_runerror(L, "the table was changed while 'pairs' went through it");
  need_stack(L, 20);
  if (lua_isnil(L, 2)) {
    push_portion(L, id, NULL, 0, FIRST_COUNT);
    walk_on(L, FIRST_COUNT);
  }
  for (;;) {
    unsigned count = (unsigned)ivalue(upvalue(WALK_COUNT));
    p = svalue(upvalue(WALK_PORTION));
    len = vslen(upvalue(WALK_PORTION));
    pos = (size_t)ivalue(upvalue(WALK_PLACE));
    if (l_likely(entry_at(p, len, pos, &e))) {
      setivalue(upvalue(WALK_PLACE), (lua_Integer)e.next);
      if (push_entry(L, id, &e, (unsigned)ivalue(upvalue(WALK_STAMP)))) {
        if (G(L)->GCdebt > 0) luaC_step(L);
        return 2;
      }
      luacell_look(L);
      continue;
    }
    if (len == 0 || p[0] != PORTION_MORE) break;
    if (!push_following(L, id, p, len, count < MAX_COUNT ? count * 4 : count,
                        count == FIRST_COUNT))
      luaG_runerror(L, "the table was changed while 'pairs' went through it");
    walk_on(L, count < MAX_COUNT ? count * 4 : count);
  }
  lua_pushnil(L);
  return 1;
}

int luacell_pairs (lua_State *L) {
  if (lua_type(L, 1) != LUA_TTABLE ||
      hvalue(s2v(L->ci->func.p + 1))->extid == 0)
    return 0;
  lua_pushliteral(L, ""); /* may move the stack */
  lua_pushinteger(L, 1);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  lua_pushinteger(L, FIRST_COUNT);
  lua_pushcclosure(L, pairs_next, 5);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

/* Puts all entries of an external table into the plain one at 'into'. */
void walk_into (lua_State *L, unsigned id, int into) {
  unsigned count = FIRST_COUNT;
  push_portion(L, id, NULL, 0, count);
  for (;;) {
    const char *p = svalue(s2v(L->top.p - 1));
    size_t len = vslen(s2v(L->top.p - 1)), pos = 1;
    unsigned stamp = host_changes();
    Entry e;
    while (entry_at(p, len, pos, &e)) {
      pos = e.next;
      luacell_look(L); /* keys may collide */
      if (push_entry(L, id, &e, stamp)) lua_rawset(L, into);
    }
    if (p[0] != PORTION_MORE) break;
    if (count < MAX_COUNT) count *= 4;
    if (!push_following(L, id, p, len, count, 0)) break;
    lua_remove(L, -2);
  }
  lua_pop(L, 1);
}

/* {== 'next' itself: the portion and place of the last call */

static struct {
  unsigned id;
  unsigned stamp;
  unsigned count;
  size_t start; /* of the entry that was given out */
  size_t pos; /* just behind it */
  int is_first; /* is it the first portion? */
} cursor;

void walk_begin_run (void) { cursor.id = 0; }

static const char *cursor_portion (size_t *len) {
  const TValue *v = luaH_getint(guest.anchors, 0);
  if (!ttisstring(v)) {
    *len = 0;
    return "";
  }
  *len = vslen(v);
  return svalue(v);
}

/* Takes the portion at the top as the present one. */
static void cursor_take (lua_State *L, unsigned id, unsigned count,
                         int is_first) {
  table_put(L, guest.anchors, 0, s2v(L->top.p - 1));
  L->top.p--;
  cursor.id = id;
  cursor.stamp = host_changes();
  cursor.count = count;
  cursor.start = 0;
  cursor.pos = 1;
  cursor.is_first = is_first;
}

/* Puts the cursor behind this key of the portion. */
static int cursor_find (const char *k, size_t klen) {
  size_t len, pos = 1;
  const char *p = cursor_portion(&len);
  Entry e;
  if (cursor.start > 0 && entry_at(p, len, cursor.start, &e) &&
      e.klen == klen && memcmp(e.key, k, klen) == 0)
    return 1;
  while (entry_at(p, len, pos, &e)) {
    if (e.klen == klen && memcmp(e.key, k, klen) == 0) {
      cursor.start = pos;
      cursor.pos = e.next;
      return 1;
    }
    pos = e.next;
  }
  return 0;
}

/* Puts the cursor behind this key of the table, wherever it is. */
static void cursor_seek (lua_State *L, unsigned id, const TValue *key) {
  size_t klen, len;
  const char *k = key_to_text(L, key, &klen);
  int found;
  if (k == NULL) luaG_runerror(L, "invalid key to 'next'");
  gc_hold(L);
  push_string(L, k, klen); /* what follows reuses the text buffer */
  k = svalue(s2v(L->top.p - 1));
  found = cursor.id == id && cursor_find(k, klen);
  if (!found && push_portion(L, id, k, klen, FIRST_COUNT)) {
    cursor_take(L, id, FIRST_COUNT, 0);
    found = cursor_portion(&len)[0] != PORTION_WHOLE || cursor_find(k, klen);
  }
  gc_release(L);
  if (!found) luaG_runerror(L, "invalid key to 'next'");
  L->top.p--;
}

int luacell_next (lua_State *L, Table *t, StkId key) {
  ptrdiff_t place = savestack(L, key);
  unsigned id = t->extid;
  need_stack(L, 20);
  if (ttisnil(s2v(restorestack(L, place)))) {
    gc_hold(L);
    push_portion(L, id, NULL, 0, FIRST_COUNT);
    cursor_take(L, id, FIRST_COUNT, 1);
    gc_release(L);
  }
  else
    cursor_seek(L, id, s2v(restorestack(L, place)));
  for (;;) {
    size_t len;
    const char *p = cursor_portion(&len);
    unsigned count = cursor.count < MAX_COUNT ? cursor.count * 4 : cursor.count;
    Entry e;
    if (entry_at(p, len, cursor.pos, &e)) {
      cursor.start = cursor.pos;
      cursor.pos = e.next;
      if (!push_entry(L, id, &e, cursor.stamp)) {
        luacell_look(L);
        continue;
      }
      key = restorestack(L, place);
      setobjs2s(L, key, L->top.p - 2);
      setobjs2s(L, key + 1, L->top.p - 1);
      L->top.p -= 2;
      return 1;
    }
    if (len == 0 || p[0] != PORTION_MORE) return 0;
    gc_hold(L);
    if (!push_following(L, id, p, len, count, cursor.is_first)) {
      gc_release(L);
      luaG_runerror(L, "invalid key to 'next'");
    }
    cursor_take(L, id, count, 0);
    gc_release(L);
  }
}

/* }== */
