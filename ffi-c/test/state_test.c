/* Kept tables: files, servers, own stores; snapshots; export and import. */
#include <luacell.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run.h"
#include "server.h"

/* ---- a store of the test's own: a list of entries ---- */

typedef struct Entry {
  struct Entry *next;
  uint32_t table;
  size_t key_len, value_len;
  char *key, *value;
} Entry;

typedef struct Own {
  Entry *first;
  int ended;
  bool broken;
} Own;

static Entry **find(Own *own, uint32_t table, const char *key, size_t key_len) {
  Entry **at = &own->first;
  while (*at != NULL && ((*at)->table != table || (*at)->key_len != key_len || memcmp((*at)->key, key, key_len) != 0))
    at = &(*at)->next;
  return at;
}

static char *copy_of(const char *data, size_t len) {
  char *copy = malloc(len + 1);
  if (copy == NULL) abort();
  if (len > 0) memcpy(copy, data, len);
  return copy;
}

static luacell_status own_get(void *userdata, uint32_t table, const char *key, size_t key_len, luacell_sink *value,
                              luacell_error **error) {
  Entry *entry = *find(userdata, table, key, key_len);
  return entry == NULL ? LUACELL_OK : luacell_sink_put(value, entry->value, entry->value_len, error);
}

static luacell_status own_remove(void *userdata, uint32_t table, const char *key, size_t key_len, luacell_error **error) {
  Entry **at = find(userdata, table, key, key_len), *entry = *at;
  (void)error;
  if (entry == NULL) return LUACELL_OK;
  *at = entry->next;
  free(entry->key), free(entry->value), free(entry);
  return LUACELL_OK;
}

static luacell_status own_set(void *userdata, uint32_t table, const char *key, size_t key_len, const char *value,
                              size_t value_len, luacell_error **error) {
  Own *own = userdata;
  if (own->broken) {
    *error = luacell_error_new("the disk is full", 16, NULL, NULL);
    return LUACELL_STORE;
  }
  own_remove(userdata, table, key, key_len, error);
  Entry *entry = malloc(sizeof *entry);
  if (entry == NULL) abort();
  *entry = (Entry){own->first, table, key_len, value_len, copy_of(key, key_len), copy_of(value, value_len)};
  own->first = entry;
  return LUACELL_OK;
}

static luacell_status own_count(void *userdata, uint32_t table, uint64_t *count, luacell_error **error) {
  (void)error;
  *count = 0;
  for (Entry *entry = ((Own *)userdata)->first; entry != NULL; entry = entry->next) *count += entry->table == table;
  return LUACELL_OK;
}

static luacell_status own_keys(void *userdata, uint32_t table, luacell_sink *keys, luacell_error **error) {
  luacell_status status = LUACELL_OK;
  for (Entry *entry = ((Own *)userdata)->first; entry != NULL && status == LUACELL_OK; entry = entry->next)
    if (entry->table == table) status = luacell_sink_put(keys, entry->key, entry->key_len, error);
  return status;
}

static void own_end(void *userdata) {
  Own *own = userdata;
  own->ended++;
}

static void own_store(void) {
  test_begin("tables live in a store of the program's own");
  Own own = {NULL, 0, false};
  luacell_table_store functions = {.size = sizeof functions, .userdata = &own, .finalizer = own_end, .get = own_get,
                                   .set = own_set, .remove = own_remove, .count = own_count, .keys = own_keys};
  luacell_store *store = NULL;
  CHECK(luacell_store_new(&functions, &store, NULL) == LUACELL_OK);
  luacell_sandbox_config config = {.size = sizeof config, .store = store};
  luacell_sandbox *sandbox = new_sandbox(&config), *second = NULL;
  luacell_outcome_free(run(sandbox, "_home.a = {b = {1, 2}} _home.n = 7 _home.gone = 1"));
  luacell_outcome_free(run(sandbox, "_home.gone = nil for k in pairs(_home) do assert(k == 'a' or k == 'n') end assert(#_home.a.b == 2)"));
  CHECK(own.first != NULL);
  fails(luacell_sandbox_new(NULL, &config, &second, &last), LUACELL_INVALID_ARGUMENT, "in use by another sandbox");
  own.broken = true;
  fails(compute(sandbox, "_home.x = 1"), LUACELL_STORE, "the disk is full");
  own.broken = false;
  luacell_sandbox_free(sandbox);
  sandbox = new_sandbox(&config); /* the tables are still there */
  luacell_outcome_free(run(sandbox, "assert(_home.n == 7 and _home.a.b[2] == 2 and _home.x == nil)"));
  luacell_store_free(store);
  CHECK(own.ended == 0);
  luacell_sandbox_free(sandbox);
  CHECK(own.ended == 1, "%d", own.ended);
  functions.keys = NULL;
  fails(luacell_store_new(&functions, &store, &last), LUACELL_INVALID_ARGUMENT, "all five");
  CHECK(own.ended == 2, "the finalizer runs when the call fails");
  while (own.first != NULL) own_remove(&own, own.first->table, own.first->key, own.first->key_len, NULL);
}

static void files(const char *folder) {
  test_begin("tables live in a file, by path and by handle");
  char path[300];
  int len = snprintf(path, sizeof path, "%s/home.luacell", folder);
  luacell_sandbox_config config = {.size = sizeof config, .location = path, .location_len = (size_t)len};
  luacell_sandbox *sandbox = new_sandbox(&config), *second = NULL;
  luacell_outcome_free(run(sandbox, "_home.n = 1"));
  luacell_sandbox_free(sandbox);
  luacell_file_options options = {.size = sizeof options, .relaxed = true};
  luacell_store *store = NULL;
  CHECK(luacell_store_open_file(path, (size_t)len, &options, &store, NULL) == LUACELL_OK);
  luacell_sandbox_config shared = {.size = sizeof shared, .store = store};
  sandbox = new_sandbox(&shared), second = new_sandbox(&shared);
  luacell_outcome_free(run(sandbox, "_home.n = _home.n + 1"));
  luacell_outcome_free(run(second, "_home.n = _home.n + 1 assert(_home.n == 3)"));
  CHECK(luacell_store_sync(store, NULL) == LUACELL_OK);
  luacell_sandbox_free(sandbox), luacell_sandbox_free(second);
  luacell_store_free(store);
  luacell_file_options reading = {.size = sizeof reading, .read_only = true};
  CHECK(luacell_store_open_file(path, (size_t)len, &reading, &store, NULL) == LUACELL_OK);
  luacell_sandbox_config reader = {.size = sizeof reader, .store = store};
  sandbox = new_sandbox(&reader);
  luacell_outcome_free(run(sandbox, "assert(_home.n == 3)"));
  fails(compute(sandbox, "_home.n = 4"), LUACELL_STORE, "reading only");
  luacell_sandbox_free(sandbox), luacell_store_free(store);
  sandbox = new_sandbox(&config);
  luacell_outcome_free(run(sandbox, "_home.f = function() return 7 end"));
  luacell_sandbox_free(sandbox);
  config.no_stored_functions = true;
  sandbox = new_sandbox(&config);
  luacell_outcome_free(run(sandbox, "assert(_home.n == 3)"));
  fails(compute(sandbox, "return _home.f()"), LUACELL_STORE, "stored_functions");
  luacell_sandbox_free(sandbox);
  fails(luacell_store_open_file("/no/such/folder/x", 17, NULL, &store, &last), LUACELL_STORE, "");
  unlink(path);
}

static void servers(const char *folder) {
  test_begin("tables live on a server, by URL");
  char url[100], problem[200];
  luacell_store *store = NULL;
  Server server;
  if (!CHECK(server_start(&server, folder, problem, sizeof problem), "%s", problem)) return;
  int len = snprintf(url, sizeof url, "redis://127.0.0.1:%d?namespace=c", server.port);
  luacell_sandbox_config config = {.size = sizeof config, .location = url, .location_len = (size_t)len};
  luacell_sandbox *sandbox = new_sandbox(&config);
  luacell_outcome_free(run(sandbox, "_home.t = {n = 1}"));
  luacell_server_options options = {.size = sizeof options, .namespace_name = "c", .namespace_name_len = 1, .timeout_ms = 60000};
  CHECK(luacell_store_open_server(url, strlen(url) - strlen("?namespace=c"), &options, &store, NULL) == LUACELL_OK);
  luacell_sandbox_config other = {.size = sizeof other, .store = store};
  luacell_sandbox *second = new_sandbox(&other);
  luacell_store_free(store);
  luacell_outcome_free(run(second, "assert(_home.t.n == 1) _home.t.n = 2"));
  luacell_outcome_free(run(sandbox, "assert(_home.t.n == 2)"));
  luacell_sandbox_free(sandbox), luacell_sandbox_free(second);
  server_stop(&server);
  fails(luacell_sandbox_new(NULL, &config, &sandbox, &last), LUACELL_STORE, "");
}

static luacell_status seven(void *userdata, const luacell_values *args, luacell_values *results, luacell_error **error) {
  (void)userdata, (void)args;
  return luacell_values_push_integer(results, 7, error);
}

static void snapshots(void) {
  test_begin("snapshots: restore, fork, bytes");
  luacell_sandbox *sandbox = new_sandbox(NULL), *fork = NULL, *other = NULL;
  luacell_snapshot *snapshot = NULL, *read = NULL;
  luacell_value *bytes = NULL;
  luacell_bytes blob = {NULL, 0};
  CHECK(luacell_register(sandbox, "seven", 5, seven, NULL, NULL, NULL) == LUACELL_OK);
  luacell_outcome_free(run(sandbox, "n = 1 _home.n = 1 next = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) next()"));
  CHECK(luacell_sandbox_snapshot(sandbox, &snapshot, NULL) == LUACELL_OK);
  luacell_outcome_free(run(sandbox, "n = 2 _home.n = 2 assert(next() == 2 and next() == 3)"));
  CHECK(luacell_sandbox_fork(sandbox, &fork, NULL) == LUACELL_OK);
  CHECK(luacell_sandbox_restore(sandbox, snapshot, NULL) == LUACELL_OK);
  luacell_outcome_free(run(sandbox, "assert(n == 1 and _home.n == 1 and next() == 2 and seven() == 7)"));
  luacell_outcome_free(run(fork, "assert(n == 2 and _home.n == 2 and next() == 4 and seven() == 7)"));
  CHECK(luacell_snapshot_to_bytes(snapshot, &bytes, NULL) == LUACELL_OK);
  CHECK(luacell_value_to_string(bytes, &blob, NULL) == LUACELL_OK && blob.len > 100);
  CHECK(luacell_snapshot_from_bytes(NULL, blob.data, blob.len, &read, NULL) == LUACELL_OK);
  CHECK(luacell_sandbox_new_from_snapshot(NULL, read, NULL, &other, NULL) == LUACELL_OK);
  luacell_outcome_free(run(other, "assert(n == 1 and _home.n == 1 and next() == 2 and not pcall(seven))"));
  fails(luacell_snapshot_from_bytes(NULL, blob.data, blob.len - 1, &read, &last), LUACELL_INVALID_ARGUMENT, "snapshot can't be restored");
  Own own = {NULL, 0, false};
  luacell_table_store functions = {.size = sizeof functions, .userdata = &own, .finalizer = own_end, .get = own_get,
                                   .set = own_set, .remove = own_remove, .count = own_count, .keys = own_keys};
  luacell_store *store = NULL;
  CHECK(luacell_store_new(&functions, &store, NULL) == LUACELL_OK);
  luacell_sandbox_config config = {.size = sizeof config, .store = store};
  luacell_sandbox *with_store = new_sandbox(&config);
  luacell_store_free(store);
  luacell_outcome_free(run(with_store, "_home.n, _home.mine = 5, true"));
  CHECK(luacell_sandbox_restore(with_store, snapshot, NULL) == LUACELL_OK);
  luacell_outcome_free(run(with_store, "assert(n == 1 and _home.n == 5 and _home.mine)"));
  CHECK(luacell_sandbox_restore_tables(with_store, snapshot, true, NULL) == LUACELL_OK);
  luacell_outcome_free(run(with_store, "assert(n == 1 and _home.n == 1 and not _home.mine)"));
  luacell_sandbox_free(with_store);
  while (own.first != NULL) own_remove(&own, own.first->table, own.first->key, own.first->key_len, NULL);
  luacell_value_free(bytes);
  luacell_snapshot_free(snapshot), luacell_snapshot_free(read);
  luacell_sandbox_free(sandbox), luacell_sandbox_free(fork), luacell_sandbox_free(other);
}

static void export_and_home(void) {
  test_begin("_home from outside, and as one blob");
  luacell_sandbox *sandbox = new_sandbox(NULL), *other = new_sandbox(NULL);
  luacell_value *home = NULL, *table = NULL, *value = NULL, *blob = NULL;
  luacell_bytes bytes = {NULL, 0};
  size_t count = 0;
  luacell_outcome_free(run(sandbox, "_home.player = {name = 'Ada', items = {1, 2}} x = 1"));
  CHECK(luacell_sandbox_home(sandbox, &home, NULL) == LUACELL_OK);
  CHECK(luacell_table_get_field(home, "player", 6, &table, NULL) == LUACELL_OK);
  CHECK(luacell_value_type(table) == LUACELL_TYPE_STORED_TABLE);
  CHECK(luacell_table_get_field(table, "name", 4, &value, NULL) == LUACELL_OK && is_string(value, "Ada"));
  CHECK(luacell_table_set_field(table, "rank", 4, value, NULL) == LUACELL_OK);
  CHECK(luacell_table_count(table, &count, NULL) == LUACELL_OK && count == 3);
  luacell_outcome_free(run(sandbox, "assert(_home.player.rank == 'Ada')"));
  CHECK(luacell_sandbox_table_count(sandbox, &count, NULL) == LUACELL_OK && count >= 2);
  CHECK(luacell_sandbox_export_home(sandbox, &blob, NULL) == LUACELL_OK);
  CHECK(luacell_value_to_string(blob, &bytes, NULL) == LUACELL_OK);
  CHECK(luacell_sandbox_import_home(other, bytes.data, bytes.len, NULL) == LUACELL_OK);
  luacell_outcome_free(run(other, "assert(_home.player.items[2] == 2)"));
  fails(luacell_sandbox_import_home(other, "x", 1, &last), LUACELL_INVALID_ARGUMENT, "");
  luacell_outcome_free(run(sandbox, "_home.f = function() return 7 end"));
  luacell_value_free(blob);
  CHECK(luacell_sandbox_export_home(sandbox, &blob, NULL) == LUACELL_OK);
  CHECK(luacell_value_to_string(blob, &bytes, NULL) == LUACELL_OK);
  fails(luacell_sandbox_import_home(other, bytes.data, bytes.len, &last), LUACELL_INVALID_ARGUMENT, "trusted");
  CHECK(luacell_sandbox_import_trusted_home(other, bytes.data, bytes.len, NULL) == LUACELL_OK);
  luacell_outcome_free(run(other, "assert(_home.f() == 7)"));
  CHECK(luacell_sandbox_reset(sandbox, NULL) == LUACELL_OK && luacell_sandbox_gc(sandbox, NULL) == LUACELL_OK);
  luacell_outcome_free(run(sandbox, "assert(x == nil and _home.player.name == 'Ada')"));
  luacell_value_free(home), luacell_value_free(table), luacell_value_free(value), luacell_value_free(blob);
  luacell_sandbox_free(sandbox), luacell_sandbox_free(other);
}

int main(void) {
  char folder[] = "/tmp/luacell-test-XXXXXX";
  if (mkdtemp(folder) == NULL) return 2;
  own_store();
  files(folder);
  servers(folder);
  snapshots();
  export_and_home();
  rmdir(folder);
  return tests_end();
}
