/* The five functions that lua.wasm imports. */
#ifndef HOST_H
#define HOST_H

#include <stdbool.h>

#include "requests.h"
#include "tables.h"

/* What they work on: the custom data of each module instance. */
typedef struct Host {
  Tables *tables;
  int revision; /* what was announced to the guest */
  Requests requests;
} Host;

/* Makes the functions known to WAMR; once, after wasm_runtime_init. */
bool host_register(void);

#endif
