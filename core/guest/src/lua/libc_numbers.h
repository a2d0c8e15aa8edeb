/*
** Settings for the files of wasi-libc that the recipe compiles again: 'double'
** instead of software 128-bit floats. printf gives the same digits in half the
** time. strtod is exact for decimal numerals only, four times faster, and gets
** a name of its own: Lua keeps the library's for hexadecimal ones (patch 13).
** Nothing here prints long doubles, so the complaint about them, and stderr
** with it, goes.
*/
#ifndef libc_numbers_h
#define libc_numbers_h

#define __wasilibc_printscan_no_long_double
#define __wasilibc_printscan_full_support_option ""

#include <stdio.h>
#include <stdlib.h>
#define fputs(s, file)	((void)(s))

#define __floatscan	luacell_floatscan
#define strtof		luacell_strtof
#define strtod		luacell_strtod
#define strtold		luacell_strtold

#endif
