// What the translated guest needs from its surroundings: memory, traps, and the way in and out.
//
// The guest itself comes from wasm2c, see build/translated.rs. This file and the guest are one unit for the compiler, which inlines across
// both. Nothing here is called by anybody but the modules in this folder.

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__linux__)
#include <fcntl.h>
#include <sys/syscall.h>
#endif

#include "dirty_pages.h"

// This file is compiled a second time for guests that are watched from outside.
#if LUACELL_HARDENED
#define OURS(name) luacell_hardened_##name
#define w2c_luacell w2c_luacellh
#define API luacell_hardened
#else
#define OURS(name) luacell_##name
#define API luacell_plain
#endif

// Other libraries in the program may have been made with wasm2c as well.
#define wasm_rt_trap OURS(rt_trap)
#define wasm_rt_allocate_memory OURS(rt_allocate_memory)
#define wasm_rt_grow_memory OURS(rt_grow_memory)
#define wasm_rt_free_memory OURS(rt_free_memory)
#define wasm_rt_allocate_funcref_table OURS(rt_allocate_funcref_table)
#define wasm_rt_free_funcref_table OURS(rt_free_funcref_table)
#define wasm_rt_is_initialized OURS(rt_is_initialized)
#define w2c_env_js_ext_table_set OURS(env_set)
#define w2c_env_js_ext_table_get OURS(env_get)
#define w2c_env_js_ext_table_delete OURS(env_delete)
#define w2c_env_js_ext_table_size OURS(env_size)
#define w2c_env_js_ext_table_keys OURS(env_keys)

// Memory never moves, so that its address can stay in a register.
#define WASM_RT_USE_MMAP 1
#if LUACELL_EXPLICIT_CHECKS
#define WASM_RT_MEMCHECK_BOUNDS_CHECK 1
#else
#define WASM_RT_MEMCHECK_GUARD_PAGES 1
#define WASM_RT_SKIP_SIGNAL_RECOVERY 1
#endif
// The stack is looked after by LUACELL_ENTER below.
#define WASM_RT_NONCONFORMING_UNCHECKED_STACK_EXHAUSTION 1

#if LUACELL_HARDENED
#include "guest-hardened.h"
#else
#include "guest.h"
#endif

// What Rust is told. Anything but DONE means that the guest was left in the middle.
enum {
  DONE = 0,
  OUT_OF_BOUNDS = 1,
  STACK = 2,
  UNREACHABLE_CODE = 3,
  BAD_CALL = 4,
  ARITHMETIC = 5,
  HOST_PANIC = 6,
  NO_MEMORY = 7,
  OTHER = 8,
};

// What a host function gives besides a number: it panicked, and the guest has to be left.
#define ABANDON INT64_MIN

struct luacell_hooks {
  int64_t (*set)(void *, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
  int64_t (*get)(void *, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
  int64_t (*delete_key)(void *, uint32_t, uint32_t, uint32_t);
  int64_t (*size)(void *, uint32_t);
  int64_t (*keys)(void *, uint32_t, uint32_t, uint32_t);
  uint64_t (*max_memory)(void *);
  int64_t (*tick)(void *);
};

// One call into the guest.
struct call {
  jmp_buf back;
  int code;
  struct call *outer;
  void *host;
  uintptr_t stack_limit;
};

struct luacell_machine {
  // First, because generated code has a pointer to this part and finds the rest by it.
  w2c_luacell guest;
  // The guest must not use the stack below this; 0 when it does not run.
  uintptr_t stack_limit;
  // The innermost call.
  struct call *call;
  // Whether the guest's own code runs, and not the host's.
  volatile sig_atomic_t inside;
  void *host;
  const struct luacell_hooks *hooks;
  size_t max_stack;
  // Address space that is ours.
  size_t reserved;
  // A number that changes with each tick of the clock, and what it was when somebody looked last.
  const volatile uint32_t *clock;
  uint32_t seen;
};

// The memory of a new guest.
struct luacell_image {
  // -1 when the system has no such thing.
  int file;
  // The file's content, or a copy.
  uint8_t *bytes;
  // What is not zero, in whole pages of the system.
  size_t used;
  size_t size;
  struct written_pages written;
};

static inline uintptr_t stack_pointer(void) {
#if defined(__x86_64__)
  uintptr_t here;
  __asm__("movq %%rsp, %0" : "=r"(here));
  return here;
#elif defined(__aarch64__)
  uintptr_t here;
  __asm__("mov %0, sp" : "=r"(here));
  return here;
#else
  char here;
  uintptr_t at;
  __asm__("" : "=r"(at) : "0"(&here));
  return at;
#endif
}

// Each function of the guest begins with this. Guard pages could not tell whose stack it is that is used up, and the bound is the
// program's to choose.
#define LUACELL_ENTER                                                                  \
  if (UNLIKELY(stack_pointer() < ((struct luacell_machine *)instance)->stack_limit)) { \
    TRAP(EXHAUSTION);                                                                  \
  }                                                                                    \
  LUACELL_LOOP

// Each loop of the guest begins with this. The clock has ticked: somebody looks whether the call has taken too long.
#if LUACELL_HARDENED
#define LUACELL_LOOP                                                       \
  if (UNLIKELY(*((struct luacell_machine *)instance)->clock !=             \
               ((struct luacell_machine *)instance)->seen)) {              \
    tick((struct luacell_machine *)instance);                              \
  }
#else
#define LUACELL_LOOP
#endif

struct luacell_machine;
static void tick(struct luacell_machine *machine);

#if LUACELL_HARDENED
#include "guest-hardened.c"
#else
#include "guest.c"
#endif

#if defined(__GNUC__)
#define APART __attribute__((noinline))
#else
#define APART
#endif

// The machine whose code this thread runs, or whose code called what this thread runs. A run that waits goes on in another thread: nothing but
// the functions that follow may look at this, so that no compiler keeps its address.
static _Thread_local struct luacell_machine *volatile active;

static APART struct luacell_machine *swap_active(struct luacell_machine *machine) {
  struct luacell_machine *before = active;
  active = machine;
  return before;
}

// Goes back to the innermost `machine_call`. All frames in between are the guest's, which own nothing: each way from the
// guest into Rust ends before somebody comes here, and each way from Rust into the guest begins with a `machine_call` of its own.
static APART WASM_RT_NO_RETURN void leave(struct luacell_machine *machine, int code) {
  struct call *call = machine->call;
  machine->inside = 0;
  call->code = code;
  _longjmp(call->back, 1);
}

APART WASM_RT_NO_RETURN void wasm_rt_trap(wasm_rt_trap_t trap) {
  int code = OTHER;
  switch (trap) {
    case WASM_RT_TRAP_OOB: code = OUT_OF_BOUNDS; break;
    case WASM_RT_TRAP_UNREACHABLE: code = UNREACHABLE_CODE; break;
    case WASM_RT_TRAP_CALL_INDIRECT: code = BAD_CALL; break;
    case WASM_RT_TRAP_INT_OVERFLOW:
    case WASM_RT_TRAP_DIV_BY_ZERO:
    case WASM_RT_TRAP_INVALID_CONVERSION: code = ARITHMETIC; break;
    case WASM_RT_TRAP_EXHAUSTION: code = STACK; break;
    default: break;
  }
  leave(active, code);
}

bool wasm_rt_is_initialized(void) {
  return true;
}

#if !LUACELL_EXPLICIT_CHECKS

static struct sigaction before_segv;
static struct sigaction before_bus;

// Whoever handled faults before us handles those that are not ours.
static void pass_on(int number, siginfo_t *info, void *context) {
  const struct sigaction *before = number == SIGBUS ? &before_bus : &before_segv;
  if (before->sa_flags & SA_SIGINFO) {
    before->sa_sigaction(number, info, context);
    return;
  }
  if (before->sa_handler == SIG_IGN && info->si_code <= 0) {
    return;
  }
  if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
    before->sa_handler(number);
    return;
  }
  // The instruction that failed is tried again and ends the program there, where a debugger wants to see it.
  signal(number, SIG_DFL);
  if (info->si_code <= 0) {
    raise(number);
  }
}

static void on_fault(int number, siginfo_t *info, void *context) {
  int error = errno;
  struct luacell_machine *machine = active;
  if (machine && machine->inside && info->si_code > 0) {
    uintptr_t offset = (uintptr_t)info->si_addr - (uintptr_t)machine->guest.w2c_memory.data;
    if (offset < machine->reserved) {
      errno = error;
      leave(machine, OUT_OF_BOUNDS);
    }
  }
  pass_on(number, info, context);
  errno = error;
}

// Called once. 0 when it went well.
static int handle_faults(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_fault;
  // The signal is not blocked while it is handled: `leave` would have to unblock it with a call of the system.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGSEGV, &action, &before_segv) != 0) {
    return -1;
  }
  return sigaction(SIGBUS, &action, &before_bus);
}

#else

static int handle_faults(void) {
  return 0;
}

#endif

// Address space without memory. `wanted` is halved until the system agrees, where checks see to the bounds.
static uint8_t *reserve(size_t wanted, size_t least, size_t *got) {
#if !LUACELL_EXPLICIT_CHECKS
  least = wanted;
#endif
  int flags = MAP_PRIVATE | MAP_ANON;
#if defined(MAP_NORESERVE)
  flags |= MAP_NORESERVE;
#endif
  for (;;) {
    void *at = mmap(NULL, wanted, PROT_NONE, flags, -1, 0);
    if (at != MAP_FAILED) {
      *got = wanted;
      return at;
    }
    if (wanted / 2 < least) {
      return NULL;
    }
    wanted /= 2;
  }
}

static bool open_pages(uint8_t *data, size_t from, size_t to) {
  return from >= to || mprotect(data + from, to - from, PROT_READ | PROT_WRITE) == 0;
}

static void set_size(wasm_rt_memory_t *memory, uint64_t pages) {
  memory->pages = pages;
  memory->size = pages * WASM_DEFAULT_PAGE_SIZE;
}

static struct luacell_machine *machine_of(wasm_rt_memory_t *memory) {
  return (struct luacell_machine *)((char *)memory - offsetof(struct luacell_machine, guest.w2c_memory));
}

// The address space is there already; the guest's code wants this much of it.
void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, uint64_t pages, uint64_t max_pages, bool is64, uint32_t page_size) {
  (void)is64;
  (void)page_size;
  memory->max_pages = max_pages;
  if (pages * WASM_DEFAULT_PAGE_SIZE > machine_of(memory)->reserved ||
      !open_pages(memory->data, 0, pages * WASM_DEFAULT_PAGE_SIZE)) {
    leave(machine_of(memory), NO_MEMORY);
  }
  set_size(memory, pages);
}

void wasm_rt_free_memory(wasm_rt_memory_t *memory) {
  (void)memory;
}

// The number of pages before, or -1.
static uint64_t machine_grow(struct luacell_machine *machine, uint64_t pages, uint64_t max_size) {
  wasm_rt_memory_t *memory = &machine->guest.w2c_memory;
  uint64_t before = memory->pages;
  if (pages > memory->max_pages - before) {
    return UINT64_MAX;
  }
  uint64_t size = (before + pages) * WASM_DEFAULT_PAGE_SIZE;
  if (size > max_size || size > machine->reserved || !open_pages(memory->data, memory->size, size)) {
    return UINT64_MAX;
  }
  set_size(memory, before + pages);
  return before;
}

uint64_t wasm_rt_grow_memory(wasm_rt_memory_t *memory, uint64_t pages) {
  struct luacell_machine *machine = machine_of(memory);
  machine->inside = 0;
  uint64_t before = machine_grow(machine, pages, machine->hooks->max_memory(machine->host));
  machine->inside = 1;
  return before;
}

void wasm_rt_allocate_funcref_table(wasm_rt_funcref_table_t *table, uint32_t elements, uint32_t max_elements) {
  table->data = calloc(elements, sizeof *table->data);
  if (!table->data) {
    leave((struct luacell_machine *)((char *)table - offsetof(struct luacell_machine, guest.w2c_T0)), NO_MEMORY);
  }
  table->size = elements;
  table->max_size = max_elements;
}

void wasm_rt_free_funcref_table(wasm_rt_funcref_table_t *table) {
  free(table->data);
}

// The five functions. The host is not inside the guest: a fault there is not the guest's.

static uint32_t answer(struct luacell_machine *machine, int64_t given) {
  if (UNLIKELY(given == ABANDON)) {
    leave(machine, HOST_PANIC);
  }
  machine->inside = 1;
  return (uint32_t)given;
}

static struct luacell_machine *calls_out(struct w2c_env *env) {
  struct luacell_machine *machine = (struct luacell_machine *)env;
  machine->inside = 0;
  return machine;
}

u32 w2c_env_js_ext_table_set(struct w2c_env *env, u32 t, u32 k, u32 kl, u32 v, u32 vl) {
  struct luacell_machine *m = calls_out(env);
  return answer(m, m->hooks->set(m->host, t, k, kl, v, vl));
}

u32 w2c_env_js_ext_table_get(struct w2c_env *env, u32 t, u32 k, u32 kl, u32 v, u32 max) {
  struct luacell_machine *m = calls_out(env);
  return answer(m, m->hooks->get(m->host, t, k, kl, v, max));
}

u32 w2c_env_js_ext_table_delete(struct w2c_env *env, u32 t, u32 k, u32 kl) {
  struct luacell_machine *m = calls_out(env);
  return answer(m, m->hooks->delete_key(m->host, t, k, kl));
}

u32 w2c_env_js_ext_table_size(struct w2c_env *env, u32 t) {
  struct luacell_machine *m = calls_out(env);
  return answer(m, m->hooks->size(m->host, t));
}

u32 w2c_env_js_ext_table_keys(struct w2c_env *env, u32 t, u32 b, u32 max) {
  struct luacell_machine *m = calls_out(env);
  return answer(m, m->hooks->keys(m->host, t, b, max));
}

static APART void tick(struct luacell_machine *machine) {
  machine->seen = *machine->clock;
  machine->inside = 0;
  (void)answer(machine, machine->hooks->tick(machine->host));
}

// "Functions" that make a guest: all of it, and all but its memory.
#define INSTANTIATE UINT32_MAX
#define PREPARE (UINT32_MAX - 1)

static uint32_t run(w2c_luacell *guest, uint32_t number, uint32_t a, uint32_t b, uint32_t c) {
  switch (number) {
#if LUACELL_HARDENED
#include "calls-hardened.inc"
#else
#include "calls.inc"
#endif
    case PREPARE:
      init_globals(guest);
      init_tables(guest);
      return 0;
    case INSTANTIATE:
      init_globals(guest);
      init_tables(guest);
      init_memories(guest);
      return 0;
    default:
      return 0;
  }
}

// Runs one of the guest's functions. Gives DONE, or why it did not return.
static int machine_call(
    struct luacell_machine *machine, void *host, uint32_t number, uint32_t a, uint32_t b, uint32_t c, uint32_t *result) {
  struct call call;
  struct luacell_machine *before = swap_active(machine);
  call.code = DONE;
  call.outer = machine->call;
  call.host = machine->host;
  call.stack_limit = machine->stack_limit;
  machine->call = &call;
  machine->host = host;
  // A run inside a run has no stack of its own.
  if (machine->stack_limit == 0) {
    uintptr_t here = stack_pointer();
    machine->stack_limit = here > machine->max_stack ? here - machine->max_stack : 1;
  }
  if (_setjmp(call.back) == 0) {
    machine->inside = 1;
    *result = run(&machine->guest, number, a, b, c);
    machine->inside = 0;
  }
  machine->call = call.outer;
  machine->host = call.host;
  machine->stack_limit = call.stack_limit;
  swap_active(before);
  return call.code;
}

static bool map_image(struct luacell_machine *machine, const struct luacell_image *image) {
  uint8_t *data = machine->guest.w2c_memory.data;
  if (image->size > machine->reserved) {
    return false;
  }
  if (image->file < 0) {
    if (!open_pages(data, 0, image->size)) {
      return false;
    }
    memcpy(data, image->bytes, image->used);
  } else {
    int flags = MAP_PRIVATE | MAP_FIXED;
    if (mmap(data, image->used, PROT_READ | PROT_WRITE, flags, image->file, 0) == MAP_FAILED ||
        !open_pages(data, image->used, image->size)) {
      return false;
    }
  }
  machine->guest.w2c_memory.max_pages = 65536;
  set_size(&machine->guest.w2c_memory, image->size / WASM_DEFAULT_PAGE_SIZE);
  return true;
}

static void machine_free(struct luacell_machine *machine) {
  munmap(machine->guest.w2c_memory.data, machine->reserved);
  wasm_rt_free_funcref_table(&machine->guest.w2c_T0);
  free(machine);
}

// What a guest wrote to beyond this is given back to the system rather than written over.
#define MOST_RESTORED ((size_t)1 << 20)

// Makes a guest what `machine_new` makes of the image, by restoring what was written to: that takes a fraction of the time. False when it can't be; then
// the guest is good for nothing but being freed.
static bool machine_reset(struct luacell_machine *machine, const struct luacell_image *image) {
  wasm_rt_memory_t *memory = &machine->guest.w2c_memory;
  uint8_t *data = memory->data;
  struct page_run runs[MOST_RUNS];
  // Not one that was left in the middle, by a future that nobody waits for any more.
  if (image->file < 0 || machine->call) {
    return false;
  }
  int count = written_between(&image->written, data, data + image->size, MOST_RESTORED, runs);
  if (count < 0) {
    return false;
  }
  if (memory->size > image->size) {
    int flags = MAP_PRIVATE | MAP_ANON | MAP_FIXED;
#if defined(MAP_NORESERVE)
    flags |= MAP_NORESERVE;
#endif
    if (mmap(data + image->size, memory->size - image->size, PROT_NONE, flags, -1, 0) == MAP_FAILED) {
      return false;
    }
  }
  for (int i = 0; i < count; i++) {
    size_t from = (size_t)(runs[i].start - (uintptr_t)data), to = (size_t)(runs[i].end - (uintptr_t)data);
    size_t copied = to < image->used ? to : from < image->used ? image->used : from;
    memcpy(data + from, image->bytes + from, copied - from);
    memset(data + copied, 0, to - copied);
  }
  // The guest's code has no instruction that changes its table.
  init_globals(&machine->guest);
  set_size(memory, image->size / WASM_DEFAULT_PAGE_SIZE);
  machine->stack_limit = 0;
  machine->inside = 0;
  machine->host = NULL;
  machine->seen = 0;
  return true;
}

// A guest as the image has it, or without an image one that was not initialised. NULL when there is no memory for it.
static struct luacell_machine *machine_new(
    const struct luacell_image *image, const struct luacell_hooks *hooks, const uint32_t *clock, size_t max_stack,
    size_t space) {
  struct luacell_machine *machine = calloc(1, sizeof *machine);
  if (!machine) {
    return NULL;
  }
#if !LUACELL_EXPLICIT_CHECKS
  // The sum of two 32-bit numbers, one of them in the instruction, and what is read there.
  space = ((size_t)8 << 30) + WASM_DEFAULT_PAGE_SIZE;
#endif
  uint8_t *data = reserve(space, 64 * WASM_DEFAULT_PAGE_SIZE, &machine->reserved);
  if (!data) {
    free(machine);
    return NULL;
  }
  machine->hooks = hooks;
  machine->clock = clock;
  machine->max_stack = max_stack;
  wasm_rt_memory_t *memory = &machine->guest.w2c_memory;
  memory->data = data;
  memory->data_end = data + machine->reserved;
  memory->page_size = WASM_DEFAULT_PAGE_SIZE;
  init_instance_import(&machine->guest, (struct w2c_env *)machine);
  uint32_t nothing;
  if (machine_call(machine, NULL, image ? PREPARE : INSTANTIATE, 0, 0, 0, &nothing) != DONE ||
      (image && !map_image(machine, image))) {
    machine_free(machine);
    return NULL;
  }
  return machine;
}

static uint8_t *machine_memory(const struct luacell_machine *machine, size_t *size) {
  *size = machine->guest.w2c_memory.size;
  return machine->guest.w2c_memory.data;
}

static bool write_all(int file, const uint8_t *bytes, size_t size) {
  while (size > 0) {
    ssize_t n = write(file, bytes, size);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return false;
    }
    bytes += n;
    size -= (size_t)n;
  }
  return true;
}

// A file in memory that nobody can change, or -1.
static int image_file(const uint8_t *bytes, size_t size) {
#if defined(__linux__) && defined(SYS_memfd_create) && defined(MFD_ALLOW_SEALING)
  int file = (int)syscall(SYS_memfd_create, "luacell", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) {
    return -1;
  }
  if (!write_all(file, bytes, size)) {
    close(file);
    return -1;
  }
  // Without seals it works as well.
  (void)fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return file;
#else
  (void)write_all;
  (void)bytes;
  (void)size;
  return -1;
#endif
}

// The memory of this guest, for others to begin with. NULL when there is no memory for it.
static struct luacell_image *image_new(const struct luacell_machine *machine) {
  const wasm_rt_memory_t *memory = &machine->guest.w2c_memory;
  struct luacell_image *image = calloc(1, sizeof *image);
  if (!image) {
    return NULL;
  }
  size_t used = memory->size;
  while (used > 0 && memory->data[used - 1] == 0) {
    used--;
  }
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  used = (used + page - 1) / page * page;
  image->used = used;
  image->size = memory->size;
  image->file = image_file(memory->data, used);
  if (image->file < 0) {
    image->bytes = malloc(used);
    if (!image->bytes) {
      free(image);
      return NULL;
    }
    memcpy(image->bytes, memory->data, used);
    return image;
  }
  // Linux before 6.7 refuses a shared mapping of a sealed file, even one for reading.
  void *content = mmap(NULL, used, PROT_READ, MAP_PRIVATE, image->file, 0);
  if (content == MAP_FAILED) {
    close(image->file);
    free(image);
    return NULL;
  }
  image->bytes = content;
  written_open(&image->written);
  return image;
}

static void image_free(struct luacell_image *image) {
  if (image->file < 0) {
    free(image->bytes);
  } else {
    written_close(&image->written);
    munmap(image->bytes, image->used);
    close(image->file);
  }
  free(image);
}

// All that is seen from outside.
const struct {
  int (*handle_faults)(void);
  struct luacell_machine *(*machine_new)(
      const struct luacell_image *, const struct luacell_hooks *, const uint32_t *, size_t, size_t);
  void (*machine_free)(struct luacell_machine *);
  bool (*machine_reset)(struct luacell_machine *, const struct luacell_image *);
  uint8_t *(*machine_memory)(const struct luacell_machine *, size_t *);
  uint64_t (*machine_grow)(struct luacell_machine *, uint64_t, uint64_t);
  int (*machine_call)(struct luacell_machine *, void *, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t *);
  struct luacell_image *(*image_new)(const struct luacell_machine *);
  void (*image_free)(struct luacell_image *);
} API = {
  handle_faults, machine_new,  machine_free, machine_reset, machine_memory,
  machine_grow,  machine_call, image_new,    image_free,
};
