/*
** Where malloc gets its memory. wasi-libc's own takes all of the initial
** memory at once and writes a mark at its end, and then a host that keeps
** the memory of a fresh instance as an image keeps megabytes of zeros. This
** one hands out the initial memory piece by piece.
*/
#include "luacell.h"

#include <errno.h>
#include <unistd.h>

#define WASM_PAGE ((uintptr_t)65536)
#define TAKEN ((uintptr_t)READS_START) /* up to the end of the initial memory */

extern unsigned char __heap_end; /* the linker's: where malloc's first piece ends */

extern unsigned char __stack_high; /* the linker's too */

static uintptr_t used; /* beyond that */

/* A pointer behind the last page would be 0. */
#define ADDRESSES (((uint64_t)1 << 32) - WASM_PAGE)

/* Between two calls the stack, which lies before all else, is nobody's. */
uintptr_t luacell_memory_start (void) { return (uintptr_t)&__stack_high; }

/* Behind it nothing was ever written, or nothing that anybody needs. */
uintptr_t luacell_memory_end (void) { return (uintptr_t)&__heap_end + used; }

/* The increment is a multiple of a page. Less is wanted only to give back what was of no use. */
void *sbrk (intptr_t increment) {
  uint64_t start = (uint64_t)(uintptr_t)&__heap_end + used;
  uint64_t pages = __builtin_wasm_memory_size(0);
  uint64_t end, wanted;
  if (start < INITIAL_MEMORY && start + (uint64_t)increment > TAKEN)
    start = INITIAL_MEMORY;
  end = start + (uint64_t)increment;
  wanted = (end + WASM_PAGE - 1) / WASM_PAGE;
  if (end > ADDRESSES ||
      (increment > 0 && !luacell_may_take((uintptr_t)end - (uintptr_t)&__heap_end)) ||
      (wanted > pages &&
       __builtin_wasm_memory_grow(0, (uintptr_t)(wanted - pages)) == SIZE_MAX)) {
    errno = ENOMEM;
    return (void *)-1;
  }
  used = (uintptr_t)end - (uintptr_t)&__heap_end;
  return (void *)(uintptr_t)start;
}
