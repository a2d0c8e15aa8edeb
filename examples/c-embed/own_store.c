/* Keeps _home where the program wants it: here in a list, in real life in a database. */
#include <luacell.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Entry {
  struct Entry *next;
  uint32_t table;
  size_t key_len, value_len;
  char *bytes; /* the key, then the value */
} Entry;

typedef struct List {
  Entry *first;
} List;

static Entry **find(List *list, uint32_t table, const char *key, size_t key_len) {
  Entry **at = &list->first;
  while (*at != NULL && ((*at)->table != table || (*at)->key_len != key_len || memcmp((*at)->bytes, key, key_len) != 0))
    at = &(*at)->next;
  return at;
}

static luacell_status get(void *list, uint32_t table, const char *key, size_t key_len, luacell_sink *value, luacell_error **error) {
  const Entry *entry = *find(list, table, key, key_len);
  return entry == NULL ? LUACELL_OK : luacell_sink_put(value, entry->bytes + entry->key_len, entry->value_len, error);
}

static luacell_status remove_key(void *list, uint32_t table, const char *key, size_t key_len, luacell_error **error) {
  Entry **at = find(list, table, key, key_len), *entry = *at;
  (void)error;
  if (entry != NULL) {
    *at = entry->next;
    free(entry->bytes);
    free(entry);
  }
  return LUACELL_OK;
}

static luacell_status set(void *list, uint32_t table, const char *key, size_t key_len, const char *value, size_t value_len,
                          luacell_error **error) {
  Entry *entry = malloc(sizeof *entry);
  char *bytes = malloc(key_len + value_len + 1);
  if (entry == NULL || bytes == NULL) {
    free(entry), free(bytes);
    *error = luacell_error_new("no memory", 9, NULL, NULL);
    return LUACELL_STORE;
  }
  remove_key(list, table, key, key_len, error);
  memcpy(bytes, key, key_len);
  memcpy(bytes + key_len, value, value_len);
  *entry = (Entry){((List *)list)->first, table, key_len, value_len, bytes};
  ((List *)list)->first = entry;
  return LUACELL_OK;
}

static luacell_status count(void *list, uint32_t table, uint64_t *entries, luacell_error **error) {
  (void)error;
  *entries = 0;
  for (const Entry *entry = ((List *)list)->first; entry != NULL; entry = entry->next) *entries += entry->table == table;
  return LUACELL_OK;
}

static luacell_status keys(void *list, uint32_t table, luacell_sink *sink, luacell_error **error) {
  luacell_status status = LUACELL_OK;
  for (const Entry *entry = ((List *)list)->first; entry != NULL && status == LUACELL_OK; entry = entry->next)
    if (entry->table == table) status = luacell_sink_put(sink, entry->bytes, entry->key_len, error);
  return status;
}

static void end(void *list) {
  for (Entry *entry = ((List *)list)->first, *next; entry != NULL; entry = next) {
    next = entry->next;
    free(entry->bytes);
    free(entry);
  }
  puts("the list is gone");
}

/* Counts visits in _home. */
static int visit(luacell_store *store) {
  luacell_sandbox_config config = {.size = sizeof config, .store = store};
  luacell_sandbox *sandbox = NULL;
  luacell_outcome *outcome = NULL;
  int64_t visits = 0;
  const char *source = "_home.visits = (_home.visits or 0) + 1 return _home.visits";
  if (luacell_sandbox_new(NULL, &config, &sandbox, NULL) == LUACELL_OK &&
      luacell_compute(sandbox, source, strlen(source), NULL, &outcome, NULL) == LUACELL_OK)
    luacell_value_to_integer(luacell_outcome_value(outcome), &visits, NULL);
  luacell_outcome_free(outcome);
  luacell_sandbox_free(sandbox);
  return (int)visits;
}

int main(void) {
  List list = {NULL};
  luacell_table_store functions = {.size = sizeof functions, .userdata = &list, .finalizer = end, .get = get, .set = set,
                                   .remove = remove_key, .count = count, .keys = keys};
  luacell_store *store = NULL;
  if (luacell_store_new(&functions, &store, NULL) != LUACELL_OK) return 1;
  int first = visit(store), second = visit(store);
  printf("visits: %d, %d\n", first, second);
  luacell_store_free(store);
  return 0;
}
