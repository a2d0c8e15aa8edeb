/* The values that travel between guest and host, as docs/MEMORY_PROTOCOL.md describes them. */
#ifndef VALUE_H
#define VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The numbers are the tags of the encoded form; 0x09 says "the same table again" and is no kind of its own. */
typedef enum {
  VALUE_NIL = 0x00,
  VALUE_BOOLEAN = 0x01,
  VALUE_INTEGER = 0x02,
  VALUE_FLOAT = 0x03,
  VALUE_STRING = 0x04,
  VALUE_BYTECODE = 0x05,
  VALUE_BUILTIN = 0x06,        /* text is its name */
  VALUE_EXTERNAL = 0x07,       /* id of a table in Tables */
  VALUE_TABLE = 0x08,          /* a table that came by value */
  VALUE_HANDLE = 0x0a,         /* id of a function in the guest */
  VALUE_STORED_FUNCTION = 0x0b, /* in stored tables only: id of the table that describes it */
  VALUE_STORED_UPVALUE = 0x0c  /* in stored tables only: id of the table that holds it */
} ValueKind;

typedef struct Value {
  ValueKind kind;
  union {
    bool boolean;
    int64_t integer;
    double number;
    uint32_t id;
    size_t table; /* index in the message's tables: the same table has the same index */
    struct {
      const uint8_t *data; /* not owned by the value */
      size_t length;
    } text;
  };
} Value;

typedef struct InlineTable {
  Value *entries; /* key, value, key, value ... */
  size_t count;   /* of values: twice the entries */
  size_t capacity;
} InlineTable;

/* A list of values that travel together. To be zeroed at first and freed with message_free. */
typedef struct Message {
  Value *values;
  size_t count, capacity;
  InlineTable *tables;
  size_t table_count, table_capacity;
  uint8_t *bytes; /* what decoded strings point into */
} Message;

void message_free(Message *message);

/* Adds to a message; false when there is no memory. A string's bytes must outlive the message. */
bool message_add(Message *message, Value value);
bool message_add_table(Message *message, size_t *index);
bool table_add(InlineTable *table, Value key, Value value);
Value value_string(const char *text);
Value value_integer(int64_t integer);

/* Takes encoded values apart. NULL, or what is wrong with them; the message is to be freed in either case. */
const char *message_decode(Message *message, const uint8_t *bytes, size_t length);

/* The encoded form, to be freed; NULL when there is no memory or a value that can't be sent. */
uint8_t *message_encode(const Message *message, size_t *length);

/* The Lua key behind the text of a stored table's key, which ends in a zero byte. Escaped strings are written to
 * `scratch`, which has room for `length` bytes. */
Value key_decode(const char *text, size_t length, uint8_t *scratch);

/* Writes values for people to read. */
void message_show(FILE *out, const Message *message);
void value_show(FILE *out, const Value *value);

#endif
