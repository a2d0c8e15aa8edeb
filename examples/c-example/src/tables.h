/* Where external tables live: table id, key, encoded value. One Tables can serve several VMs, one after another; a real
 * program would keep it in a file or a database. */
#ifndef TABLES_H
#define TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Tables Tables;

/* One entry, and the next one of its table. Key and value belong to the table; the key ends in a zero byte as well. */
typedef struct TableEntry {
  const char *key;
  size_t key_length;
  uint8_t *value;
  size_t value_length;
  struct TableEntry *next;
  struct TableEntry *previous;
} TableEntry;

/* A new, empty Tables, to be freed with tables_free; NULL when there is no memory. */
Tables *tables_new(void);
void tables_free(Tables *tables);

/* Stores copies of key and value. False when there is no memory; then nothing has changed. */
bool tables_set(Tables *tables, uint32_t id, const void *key, size_t key_length, const void *value, size_t value_length);

/* The entry, valid until the table is changed; NULL when there is no such table or key. */
const TableEntry *tables_get(const Tables *tables, uint32_t id, const void *key, size_t key_length);

/* Removes the key. Whether there is such a table. */
bool tables_delete(Tables *tables, uint32_t id, const void *key, size_t key_length);

bool tables_exist(const Tables *tables, uint32_t id);
size_t tables_size(const Tables *tables, uint32_t id);

/* The first entry, in no particular order; NULL when there is none. */
const TableEntry *tables_first(const Tables *tables, uint32_t id);

#endif
