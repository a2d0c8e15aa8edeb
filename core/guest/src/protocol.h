/*
** Numbers that guest and hosts agree on.
**
** Made from core/guest/protocol.toml by `cargo xtask verify-generated --write`.
*/
#ifndef protocol_h
#define protocol_h

#include <stdint.h>

/* What kind of failure an error is. */
enum {
  KIND_SYNTAX = 1, /* The source is not valid Lua. */
  KIND_RUNTIME = 2, /* A Lua error that the script did not catch. */
  KIND_MEMORY = 3, /* The script needed more memory than it may have. */
  KIND_INSTRUCTION_LIMIT = 4, /* The script used up its instructions. */
  KIND_TIMEOUT = 5, /* The script ran longer than it may. */
  KIND_INTERRUPTED = 6, /* Somebody called `interrupt`, or cancelled the run. */
  KIND_OUTPUT_LIMIT = 7, /* The script printed more than it may. */
  KIND_STORE_LIMIT = 8, /* The script's tables hold more than they may. */
  KIND_HOST_CALL_LIMIT = 9, /* The script called host functions more often than it may. */
  KIND_HOST_FUNCTION = 10, /* A host function failed. */
  KIND_CONVERSION = 11, /* A value cannot travel between Lua and the host, or is of another type than asked for. */
  KIND_STORE = 12, /* The table store failed. */
  KIND_CONFLICT = 13, /* Somebody else changed the same tables at the same time. */
  KIND_TRAP = 14, /* The guest crashed; the sandbox continues with a fresh one and its kept tables. */
  KIND_BUSY = 15, /* The sandbox is in use by another caller at this moment. */
  KIND_CLOSED = 16, /* The sandbox was closed, or what the value belonged to is gone. */
  KIND_INVALID_ARGUMENT = 17, /* The caller passed something that makes no sense. */
  KIND_INTERNAL = 18, /* A fault in luacell itself, or a guest that breaks its contract. */
};

/* What scripts read when they reach a limit, by its kind. */
#define LIMIT_MESSAGES \
  [KIND_INSTRUCTION_LIMIT] = "instruction limit reached", \
  [KIND_TIMEOUT] = "time limit reached", \
  [KIND_INTERRUPTED] = "interrupted", \
  [KIND_OUTPUT_LIMIT] = "output limit reached", \
  [KIND_STORE_LIMIT] = "store limit reached", \
  [KIND_HOST_CALL_LIMIT] = "host call limit reached", \

/* How an encoded value begins: docs/MEMORY_PROTOCOL.md. */
enum {
  TAG_NIL = 0x00,
  TAG_BOOLEAN = 0x01,
  TAG_INTEGER = 0x02,
  TAG_FLOAT = 0x03,
  TAG_STRING = 0x04,
  TAG_FUNCTION = 0x05, /* Its bytecode. */
  TAG_BUILTIN = 0x06,
  TAG_EXTERNAL = 0x07, /* A stored table. */
  TAG_TABLE = 0x08, /* With its content. */
  TAG_BACKREF = 0x09, /* A table that came earlier in the message. */
  TAG_HANDLE = 0x0A, /* A function that stays in the guest. */
  TAG_STORED_FUNCTION = 0x0B, /* A function with upvalues, described by a table. */
  TAG_STORED_UPVALUE = 0x0C, /* One of its upvalues, described by a table: a cell. */
  TAG_BIGINT = 0x0D,
  TAG_HOST_FUNCTION = 0x0E, /* A function of the host that has no name. */
  TAG_HOST_OBJECT = 0x0F, /* An object of the host, and the number of its class. */
  TAG_NULL = 0x10, /* Nothing, in a place where nil would be no value. */
  TAG_LIST = 0x11, /* A table with its content that is a list, empty or not. */
  TAG_MAP = 0x12, /* A table with its content that is no list, whatever keys it has. */
};

/* What a request over the channel asks for, its first byte: docs/HOST_FUNCTION_IMPORTS.md. */
enum {
  OPERATION_FETCH = 0x00,
  OPERATION_CALL = 0x01,
  OPERATION_CLOCK = 0x02,
  OPERATION_SEED = 0x03,
  OPERATION_PRINT = 0x04,
  OPERATION_MODULE = 0x05,
  OPERATION_LIMITS = 0x06,
  OPERATION_ENTRIES = 0x07,
  OPERATION_STORE_FAILURE = 0x08,
  OPERATION_REQUEST = 0x09, /* A call that may be answered later. */
  OPERATION_DROP = 0x0A, /* Nobody waits for that answer any more. */
  OPERATION_RELEASE = 0x0B, /* Lua has let go of a function or an object of the host. */
  OPERATION_CLASS = 0x0C, /* What objects like this one offer. */
};

/* How the answer of a host function begins. */
enum {
  STATUS_RESULTS = 0x00,
  STATUS_ERROR = 0x01,
  STATUS_LIMIT = 0x02,
  STATUS_PENDING = 0x03, /* It has to be waited for, with all of the guest on the stack. */
  STATUS_WAITING = 0x04, /* It comes later: the guest returns meanwhile. */
};

/* How the answer to a search for a module begins. */
enum {
  SEARCH_FOUND = 0,
  SEARCH_MISSING = 1,
  SEARCH_FAILED = 2,
};

/* How a portion of a table's entries begins. */
enum {
  PORTION_MORE = 0x00,
  PORTION_LAST = 0x01,
  PORTION_WHOLE = 0x02, /* All keys and no values: the guest makes it for itself. */
};

/* Which clock is asked for. */
enum {
  CLOCK_WALL = 0x00,
  CLOCK_PROCESSOR = 0x01, /* Of this run. */
};

/* What the imported functions answer instead of a length. Below -1, -(n + 1) says that n bytes are needed. */
enum {
  CODE_ABSENT = -1, /* No such table, key or operation, or a pointer that points nowhere. */
  CODE_STORE_FAILED = INT32_MIN, /* The store failed: for a guest of revision 2. */
  CODE_RUN_WAITS = INT32_MIN, /* Of a run: it waits for the host. */
};

/* The ids of tables that are always there. */
enum {
  TABLE_ID_CHANNEL = 0, /* No table: requests to the host. */
  TABLE_ID_HOME = 1, /* `_home`, unless another table is attached. */
  TABLE_ID_IO = 2, /* `_io` */
  TABLE_ID_FIRST_FREE = 3, /* The first id for other tables. */
};

/* The revision of the contract that guest and hosts speak. */
#define PROTOCOL_REVISION 4u

/* Room that is there without asking: in the I/O buffer, and for a value or a key of a host of revision 1. */
#define BUFFER_SIZE 65536u

/* In place of the number of a host function: to let some seconds pass, its argument. */
#define SLEEP 4294967295u

/* In place of a value's length, in a portion: the value is left out. */
#define NO_VALUE 4294967295u

/* In place of the ticks used in a run: one is taken back. */
#define LIMITS_UNDO ((int64_t)-1)

/* The guest takes at most so many bytes beyond twice its memory limit. */
#define TAKEN_BEYOND_TWICE_THE_LIMIT 4194304u

#endif
