/*
** Where malloc gets its memory. wasi-libc's own takes all of the initial
** memory at once and writes a mark at its end, and then a host that keeps
** the memory of a fresh instance as an image keeps megabytes of zeros. This
** one hands out the initial memory piece by piece.
*/
#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#define PAGE_SIZE ((uintptr_t)1 << 16)

extern unsigned char __heap_end; /* the linker's: where malloc's first piece ends */

static uintptr_t used; /* beyond that */

/* The increment is a multiple of a page and never negative: malloc is told that it can't give memory back. */
void *sbrk (intptr_t increment) {
  uintptr_t end = (uintptr_t)&__heap_end + used;
  uintptr_t pages = __builtin_wasm_memory_size(0);
  uintptr_t wanted = (end + (uintptr_t)increment + PAGE_SIZE - 1) / PAGE_SIZE;
  if (wanted > pages &&
      __builtin_wasm_memory_grow(0, wanted - pages) == SIZE_MAX) {
    errno = ENOMEM;
    return (void *)-1;
  }
  used += (uintptr_t)increment;
  return (void *)end;
}
