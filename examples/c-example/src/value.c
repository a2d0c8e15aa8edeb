#include "value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char no_memory[] = "out of memory";

/* Makes room for `more` items behind `count`; NULL when there is no memory, and the old items stay. */
static void *reserve(void *items, size_t count, size_t more, size_t *capacity, size_t item_size) {
  if (items != NULL && *capacity - count >= more) return items;
  size_t wanted = *capacity > 4 ? *capacity : 4;
  while (wanted - count < more) {
    if (wanted > SIZE_MAX / 2 / item_size) return NULL;
    wanted *= 2;
  }
  void *grown = realloc(items, wanted * item_size);
  if (grown != NULL) *capacity = wanted;
  return grown;
}

bool message_add(Message *message, Value value) {
  Value *values = reserve(message->values, message->count, 1, &message->capacity, sizeof *values);
  if (values == NULL) return false;
  message->values = values;
  values[message->count++] = value;
  return true;
}

bool message_add_table(Message *message, size_t *index) {
  InlineTable *tables = reserve(message->tables, message->table_count, 1, &message->table_capacity, sizeof *tables);
  if (tables == NULL) return false;
  message->tables = tables;
  *index = message->table_count++;
  tables[*index] = (InlineTable){0};
  return true;
}

bool table_add(InlineTable *table, Value key, Value value) {
  Value *entries = reserve(table->entries, table->count, 2, &table->capacity, sizeof *entries);
  if (entries == NULL) return false;
  table->entries = entries;
  entries[table->count++] = key;
  entries[table->count++] = value;
  return true;
}

void message_free(Message *message) {
  for (size_t i = 0; i < message->table_count; i++) free(message->tables[i].entries);
  free(message->tables);
  free(message->values);
  free(message->bytes);
  *message = (Message){0};
}

Value value_string(const char *text) {
  return (Value){.kind = VALUE_STRING, .text = {(const uint8_t *)text, strlen(text)}};
}

Value value_integer(int64_t integer) {
  return (Value){.kind = VALUE_INTEGER, .integer = integer};
}

/* ---- decoding ---- */

/* Takes from the front; `failed` stays set once something is cut off, and what is taken then is zero. */
typedef struct Reader {
  const uint8_t *at;
  size_t left;
  bool failed;
} Reader;

static const uint8_t *take(Reader *reader, size_t length) {
  static const uint8_t zeros[8];
  if (reader->failed || length > reader->left) {
    reader->failed = true;
    return zeros;
  }
  reader->at += length;
  reader->left -= length;
  return reader->at - length;
}

/* Little-endian, on any machine. */
static uint64_t take_number(Reader *reader, size_t size) {
  const uint8_t *bytes = take(reader, size);
  uint64_t number = 0;
  for (size_t i = 0; i < size; i++) number |= (uint64_t)bytes[i] << (8 * i);
  return number;
}

/* A table that is not complete yet. */
typedef struct Open {
  size_t table;
  uint32_t array, pairs;
  int64_t index;
  bool has_key;
  Value key;
} Open;

/* Takes the next value of an open table. */
static const char *add_to_open(Message *message, Open *open, Value value) {
  InlineTable *table = &message->tables[open->table];
  if (open->array > 0) {
    open->array--;
    open->index++;
    if (value.kind == VALUE_NIL) return NULL;
    return table_add(table, value_integer(open->index), value) ? NULL : no_memory;
  }
  if (open->has_key) {
    open->pairs--;
    open->has_key = false;
    return table_add(table, open->key, value) ? NULL : no_memory;
  }
  if (value.kind == VALUE_NIL || (value.kind == VALUE_FLOAT && isnan(value.number))) return "a table key is nil or NaN";
  open->key = value;
  open->has_key = true;
  return NULL;
}

/* Reads what follows a tag. 0x08 makes a table and opens it. */
static const char *take_value(Reader *reader, Message *message, Value *value, Open *begun) {
  uint8_t tag = *take(reader, 1);
  *value = (Value){.kind = (ValueKind)tag};
  switch (tag) {
    case VALUE_NIL:
      break;
    case VALUE_BOOLEAN:
      value->boolean = *take(reader, 1) != 0;
      break;
    case VALUE_INTEGER:
      value->integer = (int64_t)take_number(reader, 8);
      break;
    case VALUE_FLOAT: {
      uint64_t bits = take_number(reader, 8);
      memcpy(&value->number, &bits, sizeof bits);
      break;
    }
    case VALUE_STRING:
    case VALUE_BYTECODE:
    case VALUE_BUILTIN:
      value->text.length = (size_t)take_number(reader, 4);
      value->text.data = take(reader, value->text.length);
      break;
    case VALUE_EXTERNAL:
    case VALUE_HANDLE:
    case VALUE_STORED_FUNCTION:
    case VALUE_STORED_UPVALUE:
      value->id = (uint32_t)take_number(reader, 4);
      break;
    case VALUE_TABLE:
      if (!message_add_table(message, &value->table)) return no_memory;
      *begun = (Open){.table = value->table};
      begun->array = (uint32_t)take_number(reader, 4);
      begun->pairs = (uint32_t)take_number(reader, 4);
      break;
    case 0x09:
      value->kind = VALUE_TABLE;
      value->table = (size_t)take_number(reader, 4);
      if (value->table >= message->table_count) return "a table of the message did not begin yet";
      break;
    default:
      return "unknown tag";
  }
  return reader->failed ? "a value is cut off" : NULL;
}

const char *message_decode(Message *message, const uint8_t *bytes, size_t length) {
  *message = (Message){0};
  if (length == 0) return NULL;
  message->bytes = malloc(length);
  if (message->bytes == NULL) return no_memory;
  memcpy(message->bytes, bytes, length);

  /* Without recursion: a guest may nest tables deeper than our stack is. */
  Reader reader = {message->bytes, length, false};
  Open *open = NULL;
  size_t depth = 0, capacity = 0;
  const char *problem = NULL;
  while (problem == NULL) {
    while (depth > 0 && open[depth - 1].array == 0 && open[depth - 1].pairs == 0) depth--;
    if (depth == 0 && reader.left == 0) break;

    Value value;
    Open begun;
    bool begins = reader.left > 0 && *reader.at == VALUE_TABLE;
    problem = take_value(&reader, message, &value, &begun);
    if (problem != NULL) break;
    if (depth > 0) problem = add_to_open(message, &open[depth - 1], value);
    else if (!message_add(message, value)) problem = no_memory;
    if (problem == NULL && begins) {
      Open *more = reserve(open, depth, 1, &capacity, sizeof *more);
      if (more != NULL) {
        open = more;
        open[depth++] = begun;
      } else {
        problem = no_memory;
      }
    }
  }
  free(open);
  return problem;
}

/* ---- encoding ---- */

typedef struct Writer {
  uint8_t *data;
  size_t length, capacity;
  bool failed;
} Writer;

static void put(Writer *writer, const void *bytes, size_t length) {
  if (writer->failed || length == 0) return;
  uint8_t *data = reserve(writer->data, writer->length, length, &writer->capacity, 1);
  if (data == NULL) {
    writer->failed = true;
    return;
  }
  writer->data = data;
  memcpy(data + writer->length, bytes, length);
  writer->length += length;
}

static void put_number(Writer *writer, uint64_t number, size_t size) {
  uint8_t bytes[8];
  for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(number >> (8 * i));
  put(writer, bytes, size);
}

static void put_tagged(Writer *writer, uint8_t tag, uint64_t number, size_t size) {
  put(writer, &tag, 1);
  put_number(writer, number, size);
}

static void put_value(Writer *writer, const Value *value) {
  uint64_t bits;
  switch (value->kind) {
    case VALUE_NIL:
      put_tagged(writer, VALUE_NIL, 0, 0);
      break;
    case VALUE_BOOLEAN:
      put_tagged(writer, VALUE_BOOLEAN, value->boolean, 1);
      break;
    case VALUE_INTEGER:
      put_tagged(writer, VALUE_INTEGER, (uint64_t)value->integer, 8);
      break;
    case VALUE_FLOAT:
      memcpy(&bits, &value->number, sizeof bits);
      put_tagged(writer, VALUE_FLOAT, bits, 8);
      break;
    case VALUE_STRING:
    case VALUE_BYTECODE:
    case VALUE_BUILTIN:
      if (value->text.length > UINT32_MAX) writer->failed = true;
      put_tagged(writer, (uint8_t)value->kind, value->text.length, 4);
      put(writer, value->text.data, value->text.length);
      break;
    case VALUE_EXTERNAL:
    case VALUE_HANDLE:
      put_tagged(writer, (uint8_t)value->kind, value->id, 4);
      break;
    case VALUE_TABLE: /* the caller's */
    case VALUE_STORED_FUNCTION:
    case VALUE_STORED_UPVALUE:
      writer->failed = true;
      break;
  }
}

uint8_t *message_encode(const Message *message, size_t *length) {
  Writer writer = {0};
  /* What is still to be written, the next one last. */
  Value *todo = NULL;
  size_t count = 0, capacity = 0;
  /* Each table's number in the message, from 1; 0 as long as it was not written. */
  uint32_t *numbers = calloc(message->table_count + 1, sizeof *numbers);
  uint32_t written = 0;
  todo = reserve(todo, 0, message->count + 1, &capacity, sizeof *todo);
  if (numbers == NULL || todo == NULL) writer.failed = true;
  for (size_t i = message->count; i > 0 && !writer.failed; i--) todo[count++] = message->values[i - 1];

  while (count > 0 && !writer.failed) {
    Value value = todo[--count];
    if (value.kind != VALUE_TABLE) {
      put_value(&writer, &value);
    } else if (value.table >= message->table_count) {
      writer.failed = true;
    } else if (numbers[value.table] != 0) {
      put_tagged(&writer, 0x09, numbers[value.table] - 1, 4);
    } else {
      const InlineTable *table = &message->tables[value.table];
      numbers[value.table] = ++written;
      put_tagged(&writer, VALUE_TABLE, 0, 4);
      put_number(&writer, table->count / 2, 4);
      Value *more = reserve(todo, count, table->count, &capacity, sizeof *more);
      if (more == NULL) {
        writer.failed = true;
        break;
      }
      todo = more;
      for (size_t i = table->count; i > 0; i--) todo[count++] = table->entries[i - 1];
    }
  }
  free(numbers);
  free(todo);
  /* Nothing to encode is not a failure. */
  if (!writer.failed && writer.data == NULL) writer.data = malloc(1);
  if (writer.failed) {
    free(writer.data);
    return NULL;
  }
  *length = writer.length;
  return writer.data;
}

/* ---- keys ---- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/* Undoes the escapes of a string key; false when there is one that does not exist. */
static bool unescape(const char *text, size_t length, uint8_t *scratch, Value *key) {
  size_t count = 0;
  for (size_t i = 0; i < length; i++) {
    uint8_t byte = (uint8_t)text[i];
    if (byte == '\\') {
      char escape = i + 1 < length ? text[i + 1] : '\0';
      int high = escape == 'x' && i + 3 < length ? hex_digit(text[i + 2]) : -1;
      int low = high >= 0 ? hex_digit(text[i + 3]) : -1;
      if (escape == 'n') byte = '\n';
      else if (low >= 0) byte = (uint8_t)(high * 16 + low);
      else if (escape != '\\') return false;
      i += low >= 0 ? 3 : 1;
    }
    scratch[count++] = byte;
  }
  *key = (Value){.kind = VALUE_STRING, .text = {scratch, count}};
  return true;
}

/* Digits as Lua writes them: no leading zeros, no plus, nothing beyond 64 bits. */
static bool integer_key(const char *text, size_t length, Value *key) {
  char again[24];
  errno = 0;
  char *end;
  long long number = strtoll(text, &end, 10);
  if (length == 0 || errno != 0 || *end != '\0' || (size_t)(end - text) != length) return false;
  snprintf(again, sizeof again, "%lld", number);
  *key = value_integer(number);
  return strcmp(again, text) == 0;
}

static bool float_key(const char *text, size_t length, Value *key) {
  char *end;
  double number = strtod(text, &end);
  bool infinite = strcmp(text, "inf") == 0 || strcmp(text, "-inf") == 0;
  if (length == 0 || (size_t)(end - text) != length || (!infinite && strspn(text, "-+.e0123456789") != length)) return false;
  *key = (Value){.kind = VALUE_FLOAT, .number = number};
  return true;
}

Value key_decode(const char *text, size_t length, uint8_t *scratch) {
  Value key = {.kind = VALUE_BOOLEAN, .boolean = strcmp(text, "\\btrue") == 0};
  if (key.boolean || strcmp(text, "\\bfalse") == 0) return key;
  if (strncmp(text, "\\f", 2) == 0 && float_key(text + 2, length - 2, &key)) return key;
  if (strncmp(text, "\\s", 2) == 0 && unescape(text + 2, length - 2, scratch, &key)) return key;
  if (integer_key(text, length, &key)) return key;
  return (Value){.kind = VALUE_STRING, .text = {(const uint8_t *)text, length}};
}

/* ---- showing ---- */

static void show_float(FILE *out, double number) {
  char text[40];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, number);
    if (strtod(text, NULL) == number) break;
  }
  fprintf(out, "%s%s", text, strspn(text, "-0123456789") == strlen(text) ? ".0" : "");
}

static void show_string(FILE *out, const uint8_t *text, size_t length) {
  fputc('"', out);
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '"' || text[i] == '\\') fprintf(out, "\\%c", text[i]);
    else if (text[i] >= 0x20 && text[i] < 0x7f) fputc(text[i], out);
    else fprintf(out, "\\x%02x", text[i]);
  }
  fputc('"', out);
}

static void show(FILE *out, const Message *message, const Value *value, bool *shown, int depth) {
  switch (value->kind) {
    case VALUE_NIL:
      fputs("nil", out);
      break;
    case VALUE_BOOLEAN:
      fputs(value->boolean ? "true" : "false", out);
      break;
    case VALUE_INTEGER:
      fprintf(out, "%" PRId64, value->integer);
      break;
    case VALUE_FLOAT:
      show_float(out, value->number);
      break;
    case VALUE_STRING:
      show_string(out, value->text.data, value->text.length);
      break;
    case VALUE_BYTECODE:
      fputs("function (bytecode)", out);
      break;
    case VALUE_BUILTIN:
      fputs("built-in ", out);
      fwrite(value->text.data, 1, value->text.length, out);
      break;
    case VALUE_EXTERNAL:
      fprintf(out, "external table %" PRIu32, value->id);
      break;
    case VALUE_HANDLE:
      fputs("function (handle)", out);
      break;
    case VALUE_STORED_FUNCTION:
      fputs("function (stored)", out);
      break;
    case VALUE_STORED_UPVALUE:
      fprintf(out, "upvalue in table %" PRIu32, value->id);
      break;
    case VALUE_TABLE:
      if (shown == NULL || value->table >= message->table_count || depth == 8) {
        fputs("{...}", out);
        break;
      }
      if (shown[value->table]) {
        fputs("{the same table}", out);
        break;
      }
      shown[value->table] = true;
      fputc('{', out);
      for (size_t i = 0; i + 1 < message->tables[value->table].count; i += 2) {
        const Value *entry = &message->tables[value->table].entries[i];
        fputs(i > 0 ? ", [" : "[", out);
        show(out, message, &entry[0], shown, depth + 1);
        fputs("] = ", out);
        show(out, message, &entry[1], shown, depth + 1);
      }
      fputc('}', out);
      break;
  }
}

void message_show(FILE *out, const Message *message) {
  bool *shown = calloc(message->table_count + 1, sizeof *shown);
  for (size_t i = 0; i < message->count; i++) {
    if (i > 0) fputs(", ", out);
    show(out, message, &message->values[i], shown, 0);
  }
  free(shown);
}

void value_show(FILE *out, const Value *value) {
  show(out, NULL, value, NULL, 0);
}
