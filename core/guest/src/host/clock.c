/*
** Time and randomness, which are the host's.
*/
#include "host/host.h"

static int64_t read_clock (lua_State *L, int which) {
  byte request[10] = {OPERATION_CLOCK, (byte)which};
  size_t n;
  int64_t nanoseconds, used = budget_used();
  const byte *answer;
  memcpy(request + 2, &used, 8);
  answer = host_request(L, request, sizeof request, &n);
  if (answer == NULL || n != 8) luaL_error(L, "this host has no clock");
  memcpy(&nanoseconds, answer, 8);
  return nanoseconds;
}

long long luacell_wall_seconds (lua_State *L) {
  int64_t ns = read_clock(L, CLOCK_WALL);
  return ns >= 0 ? ns / 1000000000 : -((999999999 - ns) / 1000000000);
}

double luacell_cpu_seconds (lua_State *L) {
  return (double)read_clock(L, CLOCK_PROCESSOR) / 1e9;
}

void luacell_random_seed (unsigned long long seed[2]) {
  static const byte request[] = {OPERATION_SEED};
  size_t n;
  const byte *answer = guest.L == NULL ? NULL
                       : host_request(luacell_running, request, 1, &n);
  if (answer != NULL && n == 16)
    memcpy(seed, answer, 16);
  else {
    seed[0] = 0x9E3779B97F4A7C15u; /* no host entropy: a fixed start */
    seed[1] = 0;
  }
}

/* The same in every instance: a snapshot fixes it anyway. */
unsigned int luacell_hash_seed (void) { return 0x5BD1E995u; }
