#include "corpus_values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

enum { MAX_IDS = 16 };

/* For calls that can't fail here. */
static void must(luacell_status status) {
  if (status == LUACELL_OK) return;
  fprintf(stderr, "%s\n", luacell_status_name(status));
  abort();
}

/* ---- text ---- */

static Text new_text(size_t length) {
  Text text = {malloc(length + 1), length};
  if (text.data == NULL) abort();
  text.data[length] = 0;
  return text;
}

void text_free(Text text) {
  free(text.data);
}

Text text_of_hex(const char *hex) {
  Text text = new_text(strlen(hex) / 2);
  for (size_t i = 0; i < text.length; i++) {
    unsigned byte = 0;
    if (sscanf(hex + 2 * i, "%2x", &byte) != 1) abort();
    text.data[i] = (char)byte;
  }
  return text;
}

static bool is_text(const json_t *json) {
  return json_is_string(json) || json_object_get(json, "hex") != NULL || json_object_get(json, "repeat") != NULL;
}

Text text_of(const json_t *json) {
  if (!json_is_string(json)) {
    const json_t *hex = json_object_get(json, "hex"), *repeat = json_object_get(json, "repeat");
    if (hex != NULL) return text_of_hex(json_string_value(hex));
    const json_t *part = json_array_get(repeat, 0);
    size_t length = json_string_length(part), count = (size_t)json_integer_value(json_array_get(repeat, 1));
    Text text = new_text(length * count);
    for (size_t i = 0; i < count; i++) memcpy(text.data + i * length, json_string_value(part), length);
    return text;
  }
  Text text = new_text(json_string_length(json));
  memcpy(text.data, json_string_value(json), text.length);
  return text;
}

Text text_of_parts(const json_t *list) {
  Text all = new_text(0);
  size_t i;
  json_t *item;
  json_array_foreach(list, i, item) {
    Text part = text_of(item), longer = new_text(all.length + part.length);
    memcpy(longer.data, all.data, all.length);
    memcpy(longer.data + all.length, part.data, part.length);
    text_free(all), text_free(part);
    all = longer;
  }
  return all;
}

/* ---- values to send ---- */

typedef struct Building {
  luacell_table_builder *builder;
  uint32_t ids[MAX_IDS];
} Building;

/* A value, or one of the builder's tables. */
typedef struct Item {
  luacell_value *value;
  bool is_table;
  uint32_t table;
} Item;

static luacell_value *scalar_of(const json_t *json) {
  const json_t *field;
  if (json_is_null(json)) return luacell_value_new_nil();
  if (json_is_boolean(json)) return luacell_value_new_boolean(json_is_true(json));
  if (is_text(json)) {
    Text text = text_of(json);
    luacell_value *value = luacell_value_new_string(text.data, text.length);
    text_free(text);
    return value;
  }
  if ((field = json_object_get(json, "int")) != NULL)
    return luacell_value_new_integer(strtoll(json_string_value(field), NULL, 10));
  if ((field = json_object_get(json, "float")) != NULL)
    return luacell_value_new_float(strtod(json_string_value(field), NULL));
  return NULL;
}

static uint32_t new_table(Building *building) {
  uint32_t table;
  must(luacell_table_builder_add(building->builder, &table, NULL));
  return table;
}

/* Ends both items. */
static void put(Building *building, uint32_t table, Item key, Item value) {
  luacell_table_builder *builder = building->builder;
  if (key.is_table && value.is_table) abort(); /* no case has it */
  if (key.is_table) must(luacell_table_builder_set_with_table_key(builder, table, key.table, value.value, NULL));
  else if (value.is_table) must(luacell_table_builder_set_table(builder, table, key.value, value.table, NULL));
  else must(luacell_table_builder_set(builder, table, key.value, value.value, NULL));
  luacell_value_free(key.value), luacell_value_free(value.value);
}

static Item position(size_t i) {
  return (Item){.value = luacell_value_new_integer((int64_t)i + 1)};
}

static Item item_of(Building *building, const json_t *json) {
  luacell_value *scalar = scalar_of(json);
  if (scalar != NULL) return (Item){.value = scalar};
  const json_t *field;
  json_t *item;
  size_t i;
  if ((field = json_object_get(json, "ref")) != NULL)
    return (Item){.is_table = true, .table = building->ids[json_integer_value(field) % MAX_IDS]};
  Item table = {.is_table = true, .table = new_table(building)};
  if ((field = json_object_get(json, "id")) != NULL) building->ids[json_integer_value(field) % MAX_IDS] = table.table;
  uint32_t at = table.table;
  for (json_int_t level = 1; level < json_integer_value(json_object_get(json, "deep")); level++) {
    Item inner = {.is_table = true, .table = new_table(building)};
    put(building, at, position(0), inner);
    at = inner.table;
  }
  json_array_foreach(json_object_get(json, "array"), i, item)
    put(building, table.table, position(i), item_of(building, item));
  json_array_foreach(json_object_get(json, "table"), i, item) {
    Item key = item_of(building, json_array_get(item, 0));
    put(building, table.table, key, item_of(building, json_array_get(item, 1)));
  }
  return table;
}

luacell_values *values_of(const json_t *list) {
  Building building = {.builder = luacell_table_builder_new()};
  uint32_t root = new_table(&building);
  size_t i;
  json_t *item;
  json_array_foreach(list, i, item) put(&building, root, position(i), item_of(&building, item));
  luacell_value *table = NULL;
  must(luacell_table_builder_finish(building.builder, root, &table, NULL));
  luacell_values *values = luacell_values_new();
  for (i = 0; i < json_array_size(list); i++) {
    luacell_value *value = NULL, *key = luacell_value_new_integer((int64_t)i + 1);
    must(luacell_table_get(table, key, &value, NULL));
    must(luacell_values_push(values, value, NULL));
    luacell_value_free(value), luacell_value_free(key);
  }
  luacell_value_free(table);
  luacell_table_builder_free(building.builder);
  return values;
}

/* ---- comparing ---- */

/* The tables that were met under an id. */
typedef struct Seen {
  luacell_value *ids[MAX_IDS];
} Seen;

static bool same(const json_t *want, const luacell_value *got, Seen *seen);

static bool same_scalar(const luacell_value *want, const luacell_value *got) {
  double a, b;
  if (luacell_value_type(want) != luacell_value_type(got)) return false;
  if (luacell_value_type(want) != LUACELL_TYPE_FLOAT) return luacell_value_equal(want, got);
  must(luacell_value_to_number(want, &a, NULL));
  must(luacell_value_to_number(got, &b, NULL));
  return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static bool is_table(const luacell_value *got) {
  return luacell_value_type(got) == LUACELL_TYPE_TABLE || luacell_value_type(got) == LUACELL_TYPE_STORED_TABLE;
}

static bool same_deep(json_int_t levels, const luacell_value *got) {
  luacell_value *at = luacell_value_clone(got), *one = luacell_value_new_integer(1);
  bool all = true;
  while (all && luacell_value_type(at) == LUACELL_TYPE_TABLE) {
    luacell_value *next = NULL;
    size_t count;
    must(luacell_table_count(at, &count, NULL));
    must(luacell_table_get(at, one, &next, NULL));
    all = count <= 1;
    levels--;
    luacell_value_free(at);
    at = next;
  }
  all = all && levels == 0 && luacell_value_type(at) == LUACELL_TYPE_NIL;
  luacell_value_free(at), luacell_value_free(one);
  return all;
}

/* `entries` are keys and values in turn. */
static bool same_entry(const json_t *key, const json_t *value, const luacell_value *got, const luacell_values *entries, Seen *seen) {
  luacell_value *scalar = scalar_of(key);
  if (scalar != NULL) {
    luacell_value *found = NULL;
    must(luacell_table_get(got, scalar, &found, NULL));
    bool fits = same(value, found, seen);
    luacell_value_free(found), luacell_value_free(scalar);
    return fits;
  }
  /* A table as key: some entry has to fit. */
  for (size_t i = 0; i < luacell_values_len(entries); i += 2)
    if (same(key, luacell_values_get(entries, i), seen) && same(value, luacell_values_get(entries, i + 1), seen)) return true;
  return false;
}

static bool same_entries(const json_t *want, const luacell_value *got, Seen *seen) {
  const json_t *array = json_object_get(want, "array"), *table = json_object_get(want, "table");
  size_t i, count = json_array_size(table);
  json_t *item;
  luacell_values *entries = NULL;
  json_array_foreach(array, i, item) count += !json_is_null(item);
  must(luacell_table_entries(got, &entries, NULL));
  bool all = luacell_values_len(entries) == 2 * count;
  json_array_foreach(array, i, item) {
    luacell_value *key = luacell_value_new_integer((int64_t)i + 1), *value = NULL;
    must(luacell_table_get(got, key, &value, NULL));
    all = all && same(item, value, seen);
    luacell_value_free(key), luacell_value_free(value);
  }
  json_array_foreach(table, i, item) {
    all = all && same_entry(json_array_get(item, 0), json_array_get(item, 1), got, entries, seen);
  }
  luacell_values_free(entries);
  return all;
}

static bool same(const json_t *want, const luacell_value *got, Seen *seen) {
  const json_t *field;
  luacell_value *scalar = scalar_of(want);
  if (scalar != NULL) {
    bool equal = same_scalar(scalar, got);
    luacell_value_free(scalar);
    return equal;
  }
  if (json_object_get(want, "any") != NULL) return true;
  if (json_object_get(want, "function") != NULL) return luacell_value_type(got) == LUACELL_TYPE_FUNCTION;
  if ((field = json_object_get(want, "stored")) != NULL) {
    luacell_value *copy = NULL;
    if (luacell_value_type(got) != LUACELL_TYPE_STORED_TABLE) return false;
    must(luacell_table_copy(got, &copy, NULL));
    bool equal = same(field, copy, seen);
    luacell_value_free(copy);
    return equal;
  }
  if ((field = json_object_get(want, "ref")) != NULL)
    return luacell_value_same_table(seen->ids[json_integer_value(field) % MAX_IDS], got);
  if ((field = json_object_get(want, "id")) != NULL && is_table(got)) {
    luacell_value **place = &seen->ids[json_integer_value(field) % MAX_IDS];
    luacell_value_free(*place);
    *place = luacell_value_clone(got);
  }
  if (luacell_value_type(got) != LUACELL_TYPE_TABLE) return false;
  if ((field = json_object_get(want, "deep")) != NULL) return same_deep(json_integer_value(field), got);
  return same_entries(want, got, seen);
}

bool same_values(const json_t *list, const luacell_values *values) {
  Seen seen = {{NULL}};
  size_t i;
  json_t *item;
  bool all = json_array_size(list) == luacell_values_len(values);
  json_array_foreach(list, i, item) all = all && same(item, luacell_values_get(values, i), &seen);
  for (i = 0; i < MAX_IDS; i++) luacell_value_free(seen.ids[i]);
  return all;
}
