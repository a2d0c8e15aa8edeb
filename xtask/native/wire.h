/*
** What the two processes tell each other: the host, which is luacell's core
** with remote.c in place of the translated guest, and the guest in guest.c.
**
** Beside the messages they share a window, which is all that the host sees
** of the guest's memory. Numbers below are places in it.
*/
#ifndef wire_h
#define wire_h

#include <stdint.h>

enum { FD_CHANNEL = 3, FD_WINDOW = 4 }; /* of the guest's process */

enum {
  MESSAGE_CALL, /* of an export: number and arguments */
  MESSAGE_RETURN, /* from it: the result */
  MESSAGE_IMPORT, /* a call of the host: which one, and arguments */
  MESSAGE_ANSWER /* from it */
};

enum { IMPORT_SET, IMPORT_GET, IMPORT_DELETE, IMPORT_SIZE, IMPORT_KEYS };

struct message {
  uint32_t kind, number;
  uint32_t args[5];
  uint32_t result;
  uint32_t size; /* how much of the window is in use; to the guest: the most memory that it may have */
};

#define WINDOW_SIZE	0x20000000u
#define WINDOW_METRICS	0x1000u
#define WINDOW_IO	0x10000u /* the I/O buffer, as long as it is the first one */
#define WINDOW_ARGS	0x20000u /* what is passed to the host and back */
#define WINDOW_LARGE_IO	0x06000000u
#define WINDOW_OUTPUT	0x18000000u

#endif
