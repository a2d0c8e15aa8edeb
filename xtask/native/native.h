/*
** The native build of the guest, for sanitizers: what takes the place of
** wasm's memory. Included by luacell.h.
*/
#ifndef native_h
#define native_h

/* An address is any of 32 bits here. */
#define __builtin_wasm_memory_size(i)	((size_t)65536)

/* Fixed places become variables, which AddressSanitizer knows the ends of. */
#define READS_SIZE	12288u
#define IO_START	native_io
#define INCOMING_START	native_incoming
#define READS_START	native_reads

extern byte native_io[BUFFER_SIZE];
extern byte native_incoming[BUFFER_SIZE];
extern byte native_reads[READS_SIZE];

/* For the checks of Lua's API. */
#define need_stack(L,n) \
  do { luaD_checkstack(L, n); native_allow(L, n); } while (0)

static inline void native_allow (lua_State *L, int n) {
  if (!isLua(L->ci) && L->ci->top.p < L->top.p + n)
    L->ci->top.p = L->top.p + n;
}

#endif
