/* Every number that arrives here was chosen by the guest and is not to be trusted: a pointer or length that does not fit
 * gives -1, nothing outside the guest's memory is touched.
 *
 * WAMR would convert and check pointers itself ("*~" in a signature), but it makes a trap of one that does not fit. */
#include "host.h"

#include <limits.h>
#include <string.h>
#include <wasm_export.h>

static const int32_t failure = -1;

static Host *host_of(wasm_exec_env_t env) {
  return wasm_runtime_get_custom_data(wasm_runtime_get_module_inst(env));
}

/* The place in guest memory, or NULL. The memory is looked up in each call: it may have grown, and moved. */
static uint8_t *view(wasm_exec_env_t env, uint32_t ptr, uint32_t length) {
  wasm_memory_inst_t memory = wasm_runtime_get_default_memory(wasm_runtime_get_module_inst(env));
  uint64_t size = wasm_memory_get_cur_page_count(memory) * wasm_memory_get_bytes_per_page(memory);
  if ((uint64_t)ptr + length > size) return NULL;
  return (uint8_t *)wasm_memory_get_base_address(memory) + ptr;
}

/* What to return for an answer of this length: the length, or that there is too little room. */
static int32_t fit(const Host *host, uint64_t length, uint32_t room) {
  if (length > INT32_MAX) return failure;
  if (length <= room) return (int32_t)length;
  return host->revision >= 2 ? -(int32_t)length - 1 : failure;
}

static int32_t table_set(wasm_exec_env_t env, uint32_t id, uint32_t key_ptr, uint32_t key_length, uint32_t value_ptr,
                         uint32_t value_length) {
  Host *host = host_of(env);
  const uint8_t *key = view(env, key_ptr, key_length);
  const uint8_t *value = view(env, value_ptr, value_length);
  if (host == NULL || key == NULL || value == NULL || id == 0) return failure;
  return tables_set(host->tables, id, key, key_length, value, value_length) ? 0 : failure;
}

/* What the guest asks of the host itself, which begins with revision 3 here. */
static int32_t channel(Host *host, const uint8_t *request, size_t length, uint8_t *room, uint32_t max_length) {
  if (host->revision < 3 || !requests_handle(&host->requests, request, length)) return failure;
  int32_t answer = fit(host, host->requests.said_length, max_length);
  if (answer > 0) memcpy(room, host->requests.said, host->requests.said_length);
  return answer;
}

static int32_t table_get(wasm_exec_env_t env, uint32_t id, uint32_t key_ptr, uint32_t key_length, uint32_t value_ptr,
                         uint32_t max_length) {
  Host *host = host_of(env);
  const uint8_t *key = view(env, key_ptr, key_length);
  uint8_t *room = view(env, value_ptr, max_length);
  if (host == NULL || key == NULL || room == NULL) return failure;
  if (id == 0) return channel(host, key, key_length, room, max_length);
  const TableEntry *entry = tables_get(host->tables, id, key, key_length);
  if (entry == NULL) return failure;
  int32_t answer = fit(host, entry->value_length, max_length);
  if (answer > 0) memcpy(room, entry->value, entry->value_length);
  return answer;
}

static int32_t table_delete(wasm_exec_env_t env, uint32_t id, uint32_t key_ptr, uint32_t key_length) {
  Host *host = host_of(env);
  const uint8_t *key = view(env, key_ptr, key_length);
  if (host == NULL || key == NULL) return failure;
  return tables_delete(host->tables, id, key, key_length) ? 0 : failure;
}

static int32_t table_size(wasm_exec_env_t env, uint32_t id) {
  Host *host = host_of(env);
  size_t size = host != NULL ? tables_size(host->tables, id) : 0;
  return size < INT32_MAX ? (int32_t)size : INT32_MAX;
}

static int32_t table_keys(wasm_exec_env_t env, uint32_t id, uint32_t buffer_ptr, uint32_t max_length) {
  Host *host = host_of(env);
  uint8_t *room = view(env, buffer_ptr, max_length);
  if (host == NULL || room == NULL || !tables_exist(host->tables, id)) return failure;
  const TableEntry *first = tables_first(host->tables, id);
  if (first == NULL) return 0;

  uint64_t length = 0;
  for (const TableEntry *entry = first; entry != NULL; entry = entry->next) length += entry->key_length + 1;
  int32_t answer = fit(host, length - 1, max_length);
  if (answer < 0) return answer;
  for (const TableEntry *entry = first; entry != NULL; entry = entry->next) {
    if (entry != first) *room++ = '\n';
    memcpy(room, entry->key, entry->key_length);
    room += entry->key_length;
  }
  return answer;
}

bool host_register(void) {
  /* WAMR keeps and changes this list. */
  static NativeSymbol functions[] = {
      {"js_ext_table_set", (void *)table_set, "(iiiii)i", NULL},
      {"js_ext_table_get", (void *)table_get, "(iiiii)i", NULL},
      {"js_ext_table_delete", (void *)table_delete, "(iii)i", NULL},
      {"js_ext_table_size", (void *)table_size, "(i)i", NULL},
      {"js_ext_table_keys", (void *)table_keys, "(iii)i", NULL},
  };
  return wasm_runtime_register_natives("env", functions, sizeof functions / sizeof functions[0]);
}
