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

static uintptr_t used; /* beyond that */

/* The increment is a multiple of a page. Less is wanted only to give back what was of no use. */
void *sbrk (intptr_t increment) {
  uintptr_t start = (uintptr_t)&__heap_end + used;
  uintptr_t pages = __builtin_wasm_memory_size(0);
  uintptr_t wanted;
  if (start < INITIAL_MEMORY && start + (uintptr_t)increment > TAKEN)
    start = INITIAL_MEMORY;
  if (increment > 0 &&
      !luacell_may_take(start - (uintptr_t)&__heap_end + (size_t)increment)) {
    errno = ENOMEM;
    return (void *)-1;
  }
  wanted = (start + (uintptr_t)increment + WASM_PAGE - 1) / WASM_PAGE;
  if (wanted > pages &&
      __builtin_wasm_memory_grow(0, wanted - pages) == SIZE_MAX) {
    errno = ENOMEM;
    return (void *)-1;
  }
  used = start + (uintptr_t)increment - (uintptr_t)&__heap_end;
  return (void *)start;
}
