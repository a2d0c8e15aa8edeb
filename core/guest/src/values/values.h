/*
** Values as bytes and keys as text; what the ids and names in them stand for.
*/
#ifndef values_h
#define values_h

#include "bigint/bigint.h"
#include "host/host.h"

/* path.c: where a value is, for messages */
void path_start (lua_State *L, const char *root);
void path_key (lua_State *L, const TValue *key);
void path_upvalue (lua_State *L, const char *name);
void path_cut (lua_State *L);
void path_through (lua_State *L, const Bytes *open, size_t size, size_t key);
const char *path_text (lua_State *L);

/* keys.c: Lua keys as text and back. */
const char *key_to_text (lua_State *L, const TValue *key, size_t *len);
void key_from_text (lua_State *L, const char *s, size_t len);
int key_is_storable (const TValue *key);
int key_is_integer (const char *s, size_t len, lua_Integer *out);
size_t utf8_length (const byte *s, const byte *end);

/* objects.c: ids, and the tables, functions and upvalues that have them */
void external_push (lua_State *L, unsigned id);
void external_announce (lua_State *L, unsigned id);
unsigned external_shown_id (lua_State *L, Table *t);
void external_keep_metatable (lua_State *L, Table *t, unsigned id);
unsigned external_take_ids (lua_State *L, unsigned count);
void external_list_ids (lua_State *L, Bytes *to);
void external_forget (unsigned id);
void external_forget_from (unsigned first);
void objects_put (lua_State *L, unsigned id, const TValue *v);
const TValue *objects_find (unsigned id);
int luacell_ext_table (lua_State *L);

/* The ids that this run, or transaction, has given to objects. */
typedef void (*Visit) (lua_State *L, unsigned id, const TValue *o);
void made_clear (void);
int made_add (unsigned first, unsigned count);
void made_each (lua_State *L, Table *in, Visit f);
void made_begin_undo (lua_State *L);
int made_any (void);
int made_to_undo (size_t i, unsigned *id);
void made_end_undo (void);

/* builtins.c: functions and libraries by name, host functions too */
void builtin_add (lua_State *L, const char *name);
void builtin_remove (lua_State *L, const char *name);
const char *builtin_name (const TValue *v, size_t *len);
int builtin_push (lua_State *L, const char *name, size_t len);
void host_function_push (lua_State *L, const char *name, size_t len,
                         unsigned id);
int is_host_function (const TValue *v);
int host_function_is (const TValue *v, unsigned id);
unsigned host_function_number (const TValue *v);

/* classes.c: what objects of the host can do */
void class_push (lua_State *L, unsigned class, unsigned object);

/* host_values.c: functions of the host without a name, and objects */
int host_value_is (const TValue *v);
void host_value_push (lua_State *L, unsigned number);
int host_object_is (const TValue *v);
void host_object_push (lua_State *L, unsigned number, unsigned class);
unsigned host_object_number (const TValue *v, unsigned *class);
void host_values_list (lua_State *L, Bytes *to);

/* bytecode.c: functions that are nothing but their code */
int closure_is_plain (const LClosure *cl);
void closure_dump (lua_State *L, const TValue *f, Bytes *out);
void bytecode_load (lua_State *L, const char *code, size_t len);
void bytecode_known (lua_State *L, const byte *code, size_t len,
                     const TValue *f);

/* decode.c: values from the host or a store, pushed on the stack */
int decode_values (lua_State *L, const byte *p, size_t len);
void load_value (lua_State *L, const byte *p, size_t len);

/* encode.c: results for the host */
void encode_values (lua_State *L, const char *what, int first, int count,
                    Bytes *out);
void handle_release (lua_State *L, unsigned handle);

#endif
