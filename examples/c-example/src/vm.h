/* One instance of lua.wasm: start it, run Lua in it, read what comes back. */
#ifndef VM_H
#define VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "value.h"

typedef struct Module Module; /* lua.wasm, loaded once for any number of VMs */
typedef struct Vm Vm;         /* one running Lua, for one thread at a time */

typedef enum {
  VM_OK,
  VM_WAITS,     /* the run waits for answers */
  VM_LUA_ERROR, /* the script raised an error and did not catch it; the VM goes on working */
  VM_PROTOCOL,  /* the guest sent something that its contract does not allow */
  VM_TOO_LARGE, /* source or arguments are longer than the I/O buffer can be */
  VM_REVISION,  /* this needs a host of a later revision */
  VM_NOT_NOW,   /* another run waits already, or none does for this */
  VM_UNSENDABLE, /* an argument that has no encoded form */
  VM_NO_MEMORY,
  VM_TRAP /* the guest crashed: the VM is to be freed, its tables are still good */
} VmStatus;

/* What a run gave, to be freed with result_free whatever the status is. */
typedef struct Result {
  VmStatus status;
  uint8_t *text; /* what was printed, or the error's message; ends in a zero byte, which is not counted */
  size_t text_length;
  Message values;
} Result;

typedef struct MemoryStats {
  uint32_t buffer_size; /* bytes of the I/O buffer */
  uint32_t used;        /* bytes in use by Lua */
  uint32_t pages;       /* pages of 64 KiB that the guest's memory has */
} MemoryStats;

/* Starts and ends WAMR, once in a program. */
bool runtime_start(void);
void runtime_end(void);

/* Loads a module from a file. NULL when that fails; `problem` then says why. Free its VMs first. */
Module *lua_module_load(const char *path, char *problem, size_t problem_size);
void lua_module_free(Module *module);

/* Starts a VM on `tables`, which it borrows. When an earlier VM has worked on them, `next_table_id` is what that one said,
 * otherwise 0. `revision`: 1 is five functions and no more; 2 adds results as inline tables, arguments, calls, and sizes
 * beyond 64 KiB; 3 adds runs that wait. NULL when that fails; `problem` then says why. */
Vm *vm_new(Module *module, Tables *tables, uint32_t next_table_id, int revision, char *problem, size_t problem_size);
void vm_free(Vm *vm);

/* Runs Lua source. */
Result vm_compute(Vm *vm, const void *source, size_t length);
/* The same with a chunk name ("" for the usual one) and values for the chunk's `...` (revision 2). */
Result vm_compute_named(Vm *vm, const char *name, const void *source, size_t length, const Message *args);
/* Calls the global function `path`, in which dots reach into tables (revision 2). */
Result vm_call(Vm *vm, const char *path, const Message *args);
void result_free(Result *result);

/* Makes `name` a global function (dots make tables) whose calls wait for whoever starts the run (revision 3). */
VmStatus vm_declare(Vm *vm, const char *name);
/* As vm_compute with values for `...`, and as vm_call, with a run that may wait; there is one at a time. VM_WAITS: it
 * goes on with vm_resume. vm_compute and vm_call still work then, as part of it. */
Result vm_start(Vm *vm, const void *source, size_t length, const Message *args);
Result vm_start_call(Vm *vm, const char *path, const Message *args);
bool vm_waiting(const Vm *vm);
/* The first of the requests that the run waits for, valid until it is answered or the VM runs; NULL when none is open.
 * `task.sleep` is a request too; its argument is in seconds. */
const Request *vm_requests(const Vm *vm);
/* Answers a request with values, or with an error, which the script can catch. */
VmStatus vm_answer(Vm *vm, uint32_t id, const Message *values);
VmStatus vm_fail(Vm *vm, uint32_t id, const char *message);
/* Goes on with the answers that were given, as many as they are. VM_WAITS: it waits again. */
Result vm_resume(Vm *vm);
/* Ends the run that waits, if there is one. What it wrote to tables stays. */
VmStatus vm_cancel(Vm *vm);

VmStatus vm_collect_garbage(Vm *vm);
VmStatus vm_memory_stats(Vm *vm, MemoryStats *stats);
uint64_t vm_memory_size(const Vm *vm); /* bytes, as WAMR sees it */
/* The id that the next new table gets; the next VM on the same tables has to know it. */
VmStatus vm_next_table_id(Vm *vm, uint32_t *id);
VmStatus vm_io_table_id(Vm *vm, uint32_t *id);
VmStatus vm_home_table_id(Vm *vm, uint32_t *id);

/* Calls any function that the module exports, with at most 5 arguments; `result` may be NULL when it returns nothing. */
VmStatus vm_export(Vm *vm, const char *name, uint32_t count, const uint32_t *arguments, uint32_t *result);

const char *vm_status_text(VmStatus status);

#endif
