/* Two levels of the balanced trees that POSIX offers in <search.h>: tables by id, entries by key. Beside the tree the
 * entries of a table are linked, to go through them. */
#include "tables.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

typedef struct Table {
  uint32_t id;
  void *root; /* tree of TableEntry */
  TableEntry *first;
  size_t size;
  struct Table *next;
} Table;

struct Tables {
  void *root; /* tree of Table */
  Table *first;
};

static int compare_tables(const void *a, const void *b) {
  uint32_t left = ((const Table *)a)->id;
  uint32_t right = ((const Table *)b)->id;
  return (left > right) - (left < right);
}

static int compare_entries(const void *a, const void *b) {
  const TableEntry *left = a;
  const TableEntry *right = b;
  size_t shorter = left->key_length < right->key_length ? left->key_length : right->key_length;
  int order = shorter > 0 ? memcmp(left->key, right->key, shorter) : 0;
  return order != 0 ? order : (left->key_length > right->key_length) - (left->key_length < right->key_length);
}

/* What a tree's node holds. */
static void *content(void *node) {
  return node != NULL ? *(void **)node : NULL;
}

Tables *tables_new(void) {
  return calloc(1, sizeof(Tables));
}

static void free_entry(TableEntry *entry) {
  free(entry->value);
  free(entry);
}

void tables_free(Tables *tables) {
  if (tables == NULL) return;
  while (tables->first != NULL) {
    Table *table = tables->first;
    tables->first = table->next;
    while (table->first != NULL) {
      TableEntry *entry = table->first;
      table->first = entry->next;
      tdelete(entry, &table->root, compare_entries);
      free_entry(entry);
    }
    tdelete(table, &tables->root, compare_tables);
    free(table);
  }
  free(tables);
}

static Table *find_table(const Tables *tables, uint32_t id) {
  Table wanted = {.id = id};
  return content(tfind(&wanted, &tables->root, compare_tables));
}

static TableEntry *find_entry(const Table *table, const void *key, size_t key_length) {
  TableEntry wanted = {.key = key, .key_length = key_length};
  return table != NULL ? content(tfind(&wanted, &table->root, compare_entries)) : NULL;
}

static Table *find_or_make_table(Tables *tables, uint32_t id) {
  Table *table = find_table(tables, id);
  if (table != NULL) return table;
  table = calloc(1, sizeof *table);
  if (table == NULL) return NULL;
  table->id = id;
  if (tsearch(table, &tables->root, compare_tables) == NULL) {
    free(table);
    return NULL;
  }
  table->next = tables->first;
  tables->first = table;
  return table;
}

/* A copy; of nothing as well, so that NULL means that there is no memory. */
static void *copy(const void *bytes, size_t length) {
  void *new = malloc(length > 0 ? length : 1);
  if (new != NULL && length > 0) memcpy(new, bytes, length);
  return new;
}

static bool add_entry(Table *table, const void *key, size_t key_length, uint8_t *value, size_t value_length) {
  TableEntry *entry = malloc(sizeof *entry + key_length + 1);
  if (entry == NULL) return false;
  char *own_key = (char *)(entry + 1);
  if (key_length > 0) memcpy(own_key, key, key_length);
  own_key[key_length] = '\0';
  *entry = (TableEntry){own_key, key_length, value, value_length, table->first, NULL};
  if (tsearch(entry, &table->root, compare_entries) == NULL) {
    free(entry);
    return false;
  }
  if (table->first != NULL) table->first->previous = entry;
  table->first = entry;
  table->size++;
  return true;
}

bool tables_set(Tables *tables, uint32_t id, const void *key, size_t key_length, const void *value, size_t value_length) {
  uint8_t *own_value = copy(value, value_length);
  Table *table = own_value != NULL ? find_or_make_table(tables, id) : NULL;
  if (table == NULL) {
    free(own_value);
    return false;
  }
  TableEntry *entry = find_entry(table, key, key_length);
  if (entry != NULL) {
    free(entry->value);
    entry->value = own_value;
    entry->value_length = value_length;
    return true;
  }
  if (add_entry(table, key, key_length, own_value, value_length)) return true;
  free(own_value);
  return false;
}

const TableEntry *tables_get(const Tables *tables, uint32_t id, const void *key, size_t key_length) {
  return find_entry(find_table(tables, id), key, key_length);
}

bool tables_delete(Tables *tables, uint32_t id, const void *key, size_t key_length) {
  Table *table = find_table(tables, id);
  TableEntry *entry = find_entry(table, key, key_length);
  if (entry != NULL) {
    tdelete(entry, &table->root, compare_entries);
    if (entry->previous != NULL) entry->previous->next = entry->next;
    else table->first = entry->next;
    if (entry->next != NULL) entry->next->previous = entry->previous;
    table->size--;
    free_entry(entry);
  }
  return table != NULL;
}

bool tables_exist(const Tables *tables, uint32_t id) {
  return find_table(tables, id) != NULL;
}

size_t tables_size(const Tables *tables, uint32_t id) {
  const Table *table = find_table(tables, id);
  return table != NULL ? table->size : 0;
}

const TableEntry *tables_first(const Tables *tables, uint32_t id) {
  const Table *table = find_table(tables, id);
  return table != NULL ? table->first : NULL;
}
