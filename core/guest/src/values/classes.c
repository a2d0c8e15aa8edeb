/*
** What scripts may do with objects of the host. The host describes a class when
** Lua meets an object of it for the first time; the metatable that is made of
** it goes with the last object. All that is in it are functions of the host,
** which look at their arguments for themselves.
*/
#include "values/values.h"

/* The description's values, from the place before them. */
enum { NAME = 1, METHODS, READERS, WRITERS, EVENTS };

static int found (lua_State *L, int status, lua_KContext ctx) {
  (void)L, (void)status;
  return (int)ctx;
}

/* Finishes with what the function at the top of the stack gives for these of
   the arguments: the places of up to three. */
static int ask (lua_State *L, const char *places, int results) {
  int n = 0;
  while (places[n] != '\0') lua_pushvalue(L, places[n++] - '0');
  luacell_callk(L, n, results, results, found);
  return results;
}

/* Pushes what the table among the upvalues has for the key, the second
   argument. */
static int look_up (lua_State *L, int upvalue) {
  lua_pushvalue(L, 2);
  return lua_rawget(L, lua_upvalueindex(upvalue)) != LUA_TNIL;
}

/* __index (object, key). Upvalues: methods, readers, what is asked last. */
static int read_field (lua_State *L) {
  lua_settop(L, 2);
  if (look_up(L, 1)) return 1;
  if (look_up(L, 2)) return ask(L, "1", 1);
  lua_pushvalue(L, lua_upvalueindex(3));
  return lua_isnil(L, -1) ? 1 : ask(L, "12", 1);
}

/* __newindex (object, key, value). Upvalues: writers, what is asked last,
   the name of the class. */
static int write_field (lua_State *L) {
  lua_settop(L, 3);
  if (look_up(L, 1)) return ask(L, "13", 0);
  lua_pushvalue(L, lua_upvalueindex(2));
  if (!lua_isnil(L, -1)) return ask(L, "123", 0);
  return luaL_error(L, "can't set '%s' of a %s", luaL_tolstring(L, 2, NULL),
                    lua_tostring(L, lua_upvalueindex(3)));
}

/* Moves an entry of the events to the top of the stack. */
static void take_event (lua_State *L, int at, const char *name) {
  lua_getfield(L, at + EVENTS, name);
  lua_pushnil(L);
  lua_setfield(L, at + EVENTS, name);
}

/* Makes the metatable of the description, in the place of the events. */
static void make_metatable (lua_State *L, int at) {
  lua_pushvalue(L, at + METHODS);
  lua_pushvalue(L, at + READERS);
  take_event(L, at, "__index");
  lua_pushcclosure(L, read_field, 3);
  lua_setfield(L, at + EVENTS, "__index");
  lua_pushvalue(L, at + WRITERS);
  take_event(L, at, "__newindex");
  lua_pushvalue(L, at + NAME);
  lua_pushcclosure(L, write_field, 3);
  lua_setfield(L, at + EVENTS, "__newindex");
  lua_pushvalue(L, at + NAME);
  lua_setfield(L, at + EVENTS, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, at + EVENTS, "__metatable");
}

/* Is that one of those that a host may describe? */
static int is_description (lua_State *L, int at) {
  int i;
  if (lua_gettop(L) != at + EVENTS || !ttisstring(s2v(L->top.p - EVENTS)))
    return 0;
  for (i = METHODS; i <= EVENTS; i++)
    if (!lua_istable(L, at + i)) return 0;
  /* nothing that would run or change what the collector does */
  lua_getfield(L, at + EVENTS, "__gc");
  lua_getfield(L, at + EVENTS, "__mode");
  i = lua_isnil(L, -1) && lua_isnil(L, -2);
  lua_pop(L, 2);
  return i;
}

static void describe (lua_State *L, unsigned object) {
  byte request[5];
  const byte *answer;
  size_t n = 0;
  int at = lua_gettop(L);
  request[0] = OPERATION_CLASS;
  put_u32(request + 1, object);
  gc_hold(L); /* a finalizer might use the buffer of the answer */
  answer = host_request(L, request, sizeof request, &n);
  if (answer == NULL || n == 0)
    luacell_error(L, KIND_MEMORY, "the host has no room for one more class");
  decode_values(L, answer, n);
  gc_release(L);
  if (!is_description(L, at))
    luacell_error(L, KIND_CONVERSION, "the host gave a broken class");
  make_metatable(L, at);
  lua_insert(L, at + 1);
  lua_settop(L, at + 1);
}

/* Pushes the metatable of the class, which this object has. */
void class_push (lua_State *L, unsigned class, unsigned object) {
  const TValue *known = luaH_getint(guest.classes, class);
  if (!isempty(known)) {
    setobj2s(L, L->top.p, known);
    api_incr_top(L);
    return;
  }
  need_stack(L, 20);
  describe(L, object);
  table_put(L, guest.classes, class, s2v(L->top.p - 1));
}

/* What the object's class has under this name; NULL for anything else. */
static const TValue *event_of (lua_State *L, const TValue *v,
                               const char *name) {
  const TValue *event;
  if (!host_object_is(v)) return NULL;
  event = luaH_getshortstr(uvalue(v)->metatable, luaS_new(L, name));
  return isempty(event) ? NULL : event;
}

/*
** An object gives its iterator, which is called like any other. It can't wait
** here. An iterator of the host that can be closed is closed after the loop.
*/
void luacell_begin_loop (lua_State *L, StkId values) {
  ptrdiff_t place = savestack(L, values);
  const TValue *iterate = event_of(L, s2v(values), "__iter");
  if (iterate != NULL) {
    need_stack(L, 2);
    values = restorestack(L, place);
    setobj2s(L, L->top.p, iterate);
    setobjs2s(L, L->top.p + 1, values);
    L->top.p += 2;
    luaD_callnoyield(L, L->top.p - 2, 1);
    values = restorestack(L, place);
    setobjs2s(L, values, --L->top.p);
  }
  if (ttisnil(s2v(values + 3)) &&
      event_of(L, s2v(values), "__close") != NULL)
    setobjs2s(L, values + 3, values);
}
