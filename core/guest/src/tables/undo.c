/*
** Tables that a failed run has stored become plain ones again, with the content
** that they have.
*/
#include "tables/tables.h"

/* The external table at the top of the stack becomes a plain one again. */
static void make_plain (lua_State *L) {
  Table *t = hvalue(s2v(L->top.p - 1));
  unsigned id = t->extid;
  t->extid = 0;
  walk_into(L, id, lua_gettop(L));
}

static int is_external (const TValue *o, unsigned id) {
  return o != NULL && ttistable(o) && hvalue(o)->extid == id;
}

/*
** The host is about to forget what this run stored: what became external in
** it goes back to being plain, with the content that it has now. Making one
** table plain may bring others back to life: they join the list.
*/
void tables_undo (lua_State *L) {
  size_t i;
  unsigned id;
  if (made_any()) budget_tell_undo();
  need_stack(L, 40);
  gc_hold(L);
  made_begin_undo(L);
  for (i = 0; made_to_undo(i, &id); i++) {
    const TValue *o = objects_find(id);
    luacell_look(L); /* an empty table has no entry at which that happens */
    if (!is_external(o, id)) continue;
    setobj2s(L, L->top.p, o);
    api_incr_top(L);
    make_plain(L);
    lua_pop(L, 1);
  }
  gc_release(L);
}

static void detach (lua_State *L, unsigned id, const TValue *o) {
  (void)L;
  if (is_external(o, id)) hvalue(o)->extid = 0;
  else if (ttypetag(o) == LUA_VLCL) clLvalue(o)->extid = 0;
  else if (ttypetag(o) == LUA_VUPVAL) cell_unbind(gco2upv(gcvalue(o)));
  setempty((TValue *)o);
}

static void forget_metatable (lua_State *L, unsigned id, const TValue *o) {
  (void)L;
  (void)id;
  setempty((TValue *)o);
}

/*
** The end of taking back: no object keeps an id that the host will give to
** something else. A table whose content found no memory is empty. Allocates
** nothing, so it can't fail.
*/
void tables_forget_made (lua_State *L) {
  made_end_undo();
  made_each(L, guest.objects, detach);
  made_each(L, guest.anchors, forget_metatable);
  made_clear();
}

/*
** The tables of the host are not those that Lua knows: '_home' and '_io' are
** others, and functions that were stored become Lua's own. Returns how many
** more tables Lua holds, whose ids would mean others.
*/
int tables_leave (lua_State *L) {
  unsigned pos = 0;
  TValue key, val;
  int n = 0;
  luaC_fullgc(L, 0);
  while (table_step(guest.objects, &pos, &key, &val)) {
    unsigned id = (unsigned)ivalue(&key);
    if (!ttistable(&val)) detach(L, id, objects_find(id));
    else if (id != guest.home_id && id != guest.io_id) n++;
  }
  external_forget_from(1);
  made_clear();
  return n;
}
