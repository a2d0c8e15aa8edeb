/*
** wasi-libc's objects name these two. Defined here, because wasi-libc's own
** guard comes with a constructor that wants a random number from WASI.
*/
#include <stdint.h>

uintptr_t __stack_chk_guard;
_Noreturn void __stack_chk_fail (void);

_Noreturn void __stack_chk_fail (void) { __builtin_trap(); }
