#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasm_export.h>

/* WAMR's own stack for the guest's calls and operands, in bytes. */
#define STACK_SIZE (1024 * 1024)
#define MAX_ARGUMENTS 5
/* What an export returns whose run waits. */
#define WAITS INT32_MIN

struct Module {
  uint8_t *bytes; /* WAMR goes on using them */
  wasm_module_t module;
};

struct Vm {
  wasm_module_inst_t instance;
  wasm_exec_env_t env;
  Host host;
};

bool runtime_start(void) {
  if (!wasm_runtime_init()) return false;
  if (host_register()) return true;
  wasm_runtime_destroy();
  return false;
}

void runtime_end(void) {
  wasm_runtime_destroy();
}

/* ---- modules ---- */

static uint8_t *read_file(const char *path, uint32_t *length) {
  FILE *file = fopen(path, "rb");
  uint8_t *bytes = NULL;
  if (file == NULL) return NULL;
  if (fseek(file, 0, SEEK_END) == 0) {
    long size = ftell(file);
    if (size > 0 && size <= INT32_MAX && fseek(file, 0, SEEK_SET) == 0) bytes = malloc((size_t)size);
    if (bytes != NULL && fread(bytes, 1, (size_t)size, file) != (size_t)size) {
      free(bytes);
      bytes = NULL;
    }
    *length = (uint32_t)size;
  }
  fclose(file);
  return bytes;
}

Module *lua_module_load(const char *path, char *problem, size_t problem_size) {
  uint32_t length = 0;
  Module *module = calloc(1, sizeof *module);
  if (module == NULL || (module->bytes = read_file(path, &length)) == NULL) {
    snprintf(problem, problem_size, "cannot read %s", path);
    free(module);
    return NULL;
  }
  module->module = wasm_runtime_load(module->bytes, length, problem, (uint32_t)problem_size);
  if (module->module == NULL) {
    free(module->bytes);
    free(module);
    return NULL;
  }
  return module;
}

void lua_module_free(Module *module) {
  if (module == NULL) return;
  wasm_runtime_unload(module->module);
  free(module->bytes);
  free(module);
}

/* ---- VMs ---- */

VmStatus vm_export(Vm *vm, const char *name, uint32_t count, const uint32_t *arguments, uint32_t *result) {
  uint32_t cells[MAX_ARGUMENTS] = {0};
  wasm_function_inst_t function = wasm_runtime_lookup_function(vm->instance, name);
  if (function == NULL || count > MAX_ARGUMENTS) return VM_PROTOCOL;
  /* WAMR takes arguments and leaves the result in the same cells; it does not check how many there are. */
  if (wasm_func_get_param_count(function, vm->instance) != count) return VM_PROTOCOL;
  if (wasm_func_get_result_count(function, vm->instance) != (result != NULL ? 1 : 0)) return VM_PROTOCOL;
  if (count > 0) memcpy(cells, arguments, count * sizeof *cells);
  if (!wasm_runtime_call_wasm(vm->env, function, count, cells)) return VM_TRAP;
  if (result != NULL) *result = cells[0];
  return VM_OK;
}

static VmStatus number(Vm *vm, const char *name, uint32_t *result) {
  return vm_export(vm, name, 0, NULL, result);
}

static VmStatus start(Vm *vm, uint32_t next_table_id) {
  uint32_t result = 0;
  uint32_t revision = (uint32_t)vm->host.revision;
  if (wasm_runtime_get_default_memory(vm->instance) == NULL) return VM_PROTOCOL;
  VmStatus status = number(vm, "init", &result);
  if (status == VM_OK && result != 0) status = VM_PROTOCOL;
  if (status == VM_OK && next_table_id > 0)
    status = vm_export(vm, "sync_external_table_counter", 1, &next_table_id, NULL);
  if (status == VM_OK && revision >= 2) status = vm_export(vm, "set_host_revision", 1, &revision, NULL);
  /* All runs may wait; requests.c refuses those that were not started. */
  if (status == VM_OK && revision >= 3) status = vm_export(vm, "set_waiting", 1, &(uint32_t){1}, NULL);
  return status;
}

Vm *vm_new(Module *module, Tables *tables, uint32_t next_table_id, int revision, char *problem, size_t problem_size) {
  Vm *vm = calloc(1, sizeof *vm);
  if (vm == NULL) {
    snprintf(problem, problem_size, "out of memory");
    return NULL;
  }
  vm->host = (Host){.tables = tables, .revision = revision};
  vm->instance = wasm_runtime_instantiate(module->module, STACK_SIZE, 0, problem, (uint32_t)problem_size);
  if (vm->instance == NULL) {
    vm_free(vm);
    return NULL;
  }
  wasm_runtime_set_custom_data(vm->instance, &vm->host);
  vm->env = wasm_runtime_create_exec_env(vm->instance, STACK_SIZE);
  VmStatus status = vm->env != NULL ? start(vm, next_table_id) : VM_NO_MEMORY;
  if (status != VM_OK) {
    snprintf(problem, problem_size, "the guest does not start: %s", vm_status_text(status));
    vm_free(vm);
    return NULL;
  }
  return vm;
}

void vm_free(Vm *vm) {
  if (vm == NULL) return;
  if (vm->env != NULL) wasm_runtime_destroy_exec_env(vm->env);
  if (vm->instance != NULL) wasm_runtime_deinstantiate(vm->instance);
  requests_free(&vm->host.requests);
  free(vm);
}

uint64_t vm_memory_size(const Vm *vm) {
  wasm_memory_inst_t memory = wasm_runtime_get_default_memory(vm->instance);
  return wasm_memory_get_cur_page_count(memory) * wasm_memory_get_bytes_per_page(memory);
}

/* ---- the I/O buffer ---- */

/* The first bytes of the buffer in guest memory. Its place is asked for each time: with revision 2 it can move. */
static VmStatus buffer(Vm *vm, size_t length, uint8_t **place) {
  uint32_t ptr = 0, room = 0;
  VmStatus status = number(vm, "get_buffer_ptr", &ptr);
  if (status == VM_OK) status = number(vm, "get_buffer_size", &room);
  if (status != VM_OK) return status;
  if (length > room || (uint64_t)ptr + length > vm_memory_size(vm)) return VM_PROTOCOL;
  *place = (uint8_t *)wasm_memory_get_base_address(wasm_runtime_get_default_memory(vm->instance)) + ptr;
  return VM_OK;
}

typedef struct Part {
  const void *bytes;
  size_t length;
} Part;

/* Puts the parts one behind another into the buffer. */
static VmStatus fill(Vm *vm, const Part *parts, size_t count) {
  size_t length = 0;
  uint32_t room = 0, ignored = 0;
  for (size_t i = 0; i < count; i++) {
    if (parts[i].length > INT32_MAX - length) return VM_TOO_LARGE;
    length += parts[i].length;
  }
  VmStatus status = number(vm, "get_buffer_size", &room);
  if (status == VM_OK && length > room && vm->host.revision >= 2) {
    uint32_t wanted = (uint32_t)length;
    status = vm_export(vm, "reserve_buffer", 1, &wanted, &ignored);
    if (status == VM_OK) status = number(vm, "get_buffer_size", &room);
  }
  if (status != VM_OK) return status;
  if (length > room) return VM_TOO_LARGE;

  uint8_t *place = NULL;
  status = buffer(vm, length, &place);
  for (size_t i = 0; i < count && status == VM_OK; i++) {
    if (parts[i].length > 0) memcpy(place, parts[i].bytes, parts[i].length);
    place += parts[i].length;
  }
  return status;
}

/* ---- running ---- */

void result_free(Result *result) {
  free(result->text);
  message_free(&result->values);
  *result = (Result){0};
}

static VmStatus set_text(Result *result, const uint8_t *text, size_t length) {
  result->text = malloc(length + 1);
  if (result->text == NULL) return VM_NO_MEMORY;
  if (length > 0) memcpy(result->text, text, length);
  result->text[length] = '\0';
  result->text_length = length;
  return VM_OK;
}

/* Makes sense of what compute and its kin return. */
static VmStatus read_result(Vm *vm, int32_t n, Result *result) {
  uint8_t *bytes = NULL;
  size_t length = n < 0 ? (size_t)(-(n + 1)) : (size_t)n;
  VmStatus status = buffer(vm, length, &bytes);
  if (status != VM_OK) return status;
  if (n < 0) {
    status = set_text(result, bytes, length);
    return status == VM_OK ? VM_LUA_ERROR : status;
  }
  if (n == 0) return set_text(result, NULL, 0);
  if (length < 4) return VM_PROTOCOL;
  size_t output = bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 | (size_t)bytes[3] << 24;
  if (output > length - 4) return VM_PROTOCOL;
  status = set_text(result, bytes + 4, output);
  if (status != VM_OK) return status;
  return message_decode(&result->values, bytes + 4 + output, length - 4 - output) == NULL ? VM_OK : VM_PROTOCOL;
}

/* What comes of a run, by what the export returned. */
static Result outcome(Vm *vm, VmStatus status, uint32_t returned) {
  Result result = {.status = status};
  if (status == VM_OK) result.status = read_result(vm, (int32_t)returned, &result);
  if (result.status == VM_TRAP) {
    const char *exception = wasm_runtime_get_exception(vm->instance);
    if (exception != NULL) set_text(&result, (const uint8_t *)exception, strlen(exception));
  }
  return result;
}

/* Calls one of the functions that run Lua. */
static Result run(Vm *vm, const char *name, uint32_t count, const uint32_t *arguments) {
  uint32_t returned = 0;
  VmStatus status = vm_export(vm, name, count, arguments, &returned);
  return outcome(vm, status, returned);
}

/* Puts the parts of a run into the buffer; `lengths` are theirs. */
static VmStatus fill_run(Vm *vm, const char *name, const void *source, size_t length, const Message *args,
                         uint32_t lengths[3]) {
  size_t encoded_length = 0;
  uint8_t *encoded = message_encode(args, &encoded_length);
  if (encoded == NULL) return VM_UNSENDABLE;
  VmStatus status = fill(vm, (Part[]){{name, strlen(name)}, {source, length}, {encoded, encoded_length}}, 3);
  free(encoded);
  lengths[0] = (uint32_t)strlen(name);
  lengths[1] = (uint32_t)length;
  lengths[2] = (uint32_t)encoded_length;
  return status;
}

Result vm_compute(Vm *vm, const void *source, size_t length) {
  uint32_t arguments[2] = {0, (uint32_t)length};
  VmStatus status = fill(vm, (Part[]){{source, length}}, 1);
  if (status == VM_OK) status = number(vm, "get_buffer_ptr", &arguments[0]);
  if (status != VM_OK) return (Result){.status = status};
  return run(vm, "compute", 2, arguments);
}

Result vm_compute_named(Vm *vm, const char *name, const void *source, size_t length, const Message *args) {
  uint32_t lengths[3];
  VmStatus status = vm->host.revision >= 2 ? fill_run(vm, name, source, length, args, lengths) : VM_REVISION;
  if (status != VM_OK) return (Result){.status = status};
  return run(vm, "compute_named", 3, lengths);
}

Result vm_call(Vm *vm, const char *path, const Message *args) {
  uint32_t lengths[3];
  VmStatus status = vm->host.revision >= 2 ? fill_run(vm, path, NULL, 0, args, lengths) : VM_REVISION;
  if (status != VM_OK) return (Result){.status = status};
  return run(vm, "call", 2, (uint32_t[]){lengths[0], lengths[2]});
}

/* ---- runs that wait ---- */

VmStatus vm_declare(Vm *vm, const char *name) {
  uint32_t arguments[2] = {(uint32_t)strlen(name), 0};
  if (vm->host.revision < 3) return VM_REVISION;
  VmStatus status = fill(vm, (Part[]){{name, strlen(name)}}, 1);
  if (status != VM_OK) return status;
  if (!requests_declare(&vm->host.requests, name, &arguments[1])) return VM_NO_MEMORY;
  Result result = run(vm, "register_function", 2, arguments);
  status = result.status;
  result_free(&result);
  return status;
}

/* Lets a run go that its starter answers, from its beginning or from where it waited. */
static Result step(Vm *vm, const char *name, uint32_t count, const uint32_t *arguments) {
  Requests *requests = &vm->host.requests;
  uint32_t returned = 0;
  requests_begin(requests);
  VmStatus status = vm_export(vm, name, count, arguments, &returned);
  if (status == VM_OK && (int32_t)returned == WAITS && requests->first != NULL) return (Result){.status = VM_WAITS};
  requests_end(requests);
  return outcome(vm, status, returned);
}

/* Whether a run can be started. */
static VmStatus may_start(const Vm *vm) {
  if (vm->host.revision < 3) return VM_REVISION;
  return vm_waiting(vm) ? VM_NOT_NOW : VM_OK;
}

Result vm_start(Vm *vm, const void *source, size_t length, const Message *args) {
  uint32_t lengths[3];
  VmStatus status = may_start(vm);
  if (status == VM_OK) status = fill_run(vm, "", source, length, args, lengths);
  if (status != VM_OK) return (Result){.status = status};
  return step(vm, "compute_named", 3, lengths);
}

Result vm_start_call(Vm *vm, const char *path, const Message *args) {
  uint32_t lengths[3];
  VmStatus status = may_start(vm);
  if (status == VM_OK) status = fill_run(vm, path, NULL, 0, args, lengths);
  if (status != VM_OK) return (Result){.status = status};
  return step(vm, "call", 2, (uint32_t[]){lengths[0], lengths[2]});
}

bool vm_waiting(const Vm *vm) {
  return vm->host.requests.started;
}

const Request *vm_requests(const Vm *vm) {
  return vm->host.requests.first;
}

static VmStatus status_of(Settled settled) {
  if (settled == NO_REQUEST) return VM_NOT_NOW;
  return settled == SETTLED ? VM_OK : VM_UNSENDABLE;
}

VmStatus vm_answer(Vm *vm, uint32_t id, const Message *values) {
  return status_of(requests_answer(&vm->host.requests, id, values));
}

VmStatus vm_fail(Vm *vm, uint32_t id, const char *message) {
  return status_of(requests_fail(&vm->host.requests, id, message));
}

Result vm_resume(Vm *vm) {
  Requests *requests = &vm->host.requests;
  if (!vm_waiting(vm)) return (Result){.status = VM_NOT_NOW};
  uint32_t length = (uint32_t)requests->answers_length;
  VmStatus status = fill(vm, (Part[]){{requests->answers, requests->answers_length}}, 1);
  if (status != VM_OK) return (Result){.status = status};
  return step(vm, "resume", 1, &length);
}

VmStatus vm_cancel(Vm *vm) {
  /* Again if runs inside it have cancelled all its tasks: then it goes on up to its next request. */
  while (vm_waiting(vm)) {
    if (!requests_interrupt(&vm->host.requests)) return VM_NO_MEMORY;
    Result result = vm_resume(vm);
    VmStatus status = result.status;
    result_free(&result);
    if (status != VM_OK && status != VM_WAITS && status != VM_LUA_ERROR) return status;
  }
  return VM_OK;
}

/* ---- figures ---- */

VmStatus vm_collect_garbage(Vm *vm) {
  return vm_export(vm, "run_gc", 0, NULL, NULL);
}

VmStatus vm_memory_stats(Vm *vm, MemoryStats *stats) {
  uint32_t ptr = 0;
  uint8_t *place = NULL;
  VmStatus status = number(vm, "get_buffer_ptr", &ptr);
  if (status == VM_OK) status = vm_export(vm, "get_memory_stats", 1, &ptr, NULL);
  if (status == VM_OK) status = buffer(vm, 12, &place);
  if (status != VM_OK) return status;
  uint32_t numbers[3];
  for (size_t i = 0; i < 3; i++, place += 4)
    numbers[i] = place[0] | (uint32_t)place[1] << 8 | (uint32_t)place[2] << 16 | (uint32_t)place[3] << 24;
  *stats = (MemoryStats){numbers[0], numbers[1], numbers[2]};
  return VM_OK;
}

VmStatus vm_next_table_id(Vm *vm, uint32_t *id) {
  return vm_export(vm, "allocate_table_ids", 1, &(uint32_t){0}, id);
}

VmStatus vm_io_table_id(Vm *vm, uint32_t *id) {
  return number(vm, "get_io_table_id", id);
}

VmStatus vm_home_table_id(Vm *vm, uint32_t *id) {
  return number(vm, "get_memory_table_id", id);
}

const char *vm_status_text(VmStatus status) {
  switch (status) {
    case VM_OK: return "ok";
    case VM_WAITS: return "the run waits for answers";
    case VM_LUA_ERROR: return "Lua error";
    case VM_PROTOCOL: return "the guest breaks its contract";
    case VM_TOO_LARGE: return "this does not fit the I/O buffer";
    case VM_REVISION: return "this needs a host of a later revision";
    case VM_NOT_NOW: return "another run waits already, or none does for this";
    case VM_UNSENDABLE: return "an argument cannot be sent";
    case VM_NO_MEMORY: return "out of memory";
    case VM_TRAP: return "the guest has crashed";
  }
  return "unknown status";
}
