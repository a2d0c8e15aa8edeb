/*
** Takes the place of core/src/machine/translated/runtime.c: a guest is a
** process of its own, the native build in guest.c, and what core takes for
** its memory is the window that both share. For `cargo xtask sanitize guest`
** only, which says in LUACELL_NATIVE_GUEST where the program is.
**
** A process that dies is a trap. What it said before lies in a file of the
** folder that LUACELL_NATIVE_FINDINGS names. It can't be copied: an image is
** the list of calls that a new process begins with.
*/
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wire.h"

enum { DONE = 0, UNREACHABLE = 3, HOST_PANIC = 6 };
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

enum { MOST_RECORDED = 16 };

struct luacell_image {
  int count;
  uint32_t calls[MOST_RECORDED][2]; /* export and argument */
};

struct luacell_machine {
  const struct luacell_hooks *hooks;
  pid_t process; /* 0: dead */
  int channel;
  char said[256]; /* the file with what it writes to its standard error */
  uint8_t *window;
  size_t size; /* of the window's used part */
  bool starting; /* there is no host yet */
  struct luacell_image recorded; /* what was called */
};

static int handle_faults(void) { return 0; }

static void end(struct luacell_machine *machine, bool ends_itself) {
  if (machine->process == 0) return;
  close(machine->channel);
  if (!ends_itself) kill(machine->process, SIGKILL);
  waitpid(machine->process, NULL, 0);
  machine->process = 0;
  struct stat file;
  if (stat(machine->said, &file) == 0 && file.st_size == 0) unlink(machine->said);
}

static bool start(struct luacell_machine *machine) {
  extern char **environ;
  static atomic_uint count;
  const char *program = getenv("LUACELL_NATIVE_GUEST"), *folder = getenv("LUACELL_NATIVE_FINDINGS");
  int ends[2] = {-1, -1};
  int window = memfd_create("window", MFD_CLOEXEC);
  posix_spawn_file_actions_t actions;
  char *arguments[] = {"guest", NULL};
  bool ok;
  if (program == NULL || folder == NULL) {
    fputs("LUACELL_NATIVE_GUEST and LUACELL_NATIVE_FINDINGS have to be set\n", stderr);
    abort();
  }
  snprintf(machine->said, sizeof machine->said, "%s/%d-%u", folder, (int)getpid(), atomic_fetch_add(&count, 1));
  if (window < 0 || ftruncate(window, WINDOW_SIZE) != 0 ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    close(window);
    return false;
  }
  machine->window = mmap(NULL, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, window, 0);
  /* First to numbers that are not among the wanted ones. */
  int theirs = fcntl(ends[1], F_DUPFD_CLOEXEC, 10), shown = fcntl(window, F_DUPFD_CLOEXEC, 10);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs, FD_CHANNEL);
  posix_spawn_file_actions_adddup2(&actions, shown, FD_WINDOW);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, machine->said, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  ok = machine->window != MAP_FAILED && posix_spawn(&machine->process, program, &actions, NULL, arguments, environ) == 0;
  posix_spawn_file_actions_destroy(&actions);
  close(theirs);
  close(shown);
  close(ends[1]);
  close(window);
  machine->channel = ends[0];
  machine->size = WINDOW_ARGS;
  if (!ok) {
    machine->process = 0;
    close(ends[0]);
  }
  return ok;
}

static bool tell(const struct luacell_machine *machine, const struct message *m) {
  ssize_t n;
  while ((n = send(machine->channel, m, sizeof *m, MSG_NOSIGNAL)) < 0 && errno == EINTR) continue;
  return n == sizeof *m;
}

static bool hear(const struct luacell_machine *machine, struct message *m) {
  ssize_t n;
  while ((n = recv(machine->channel, m, sizeof *m, 0)) < 0 && errno == EINTR) continue;
  return n == sizeof *m;
}

static int64_t answer(const struct luacell_machine *machine, void *host, const struct message *m) {
  const struct luacell_hooks *hooks = machine->hooks;
  const uint32_t *a = m->args;
  if (machine->starting) return -1;
  switch (m->number) {
    case IMPORT_SET: return hooks->set(host, a[0], a[1], a[2], a[3], a[4]);
    case IMPORT_GET: return hooks->get(host, a[0], a[1], a[2], a[3], a[4]);
    case IMPORT_DELETE: return hooks->delete_key(host, a[0], a[1], a[2]);
    case IMPORT_SIZE: return hooks->size(host, a[0]);
    default: return hooks->keys(host, a[0], a[1], a[2]);
  }
}

static int machine_call(struct luacell_machine *machine, void *host, uint32_t number, uint32_t a, uint32_t b, uint32_t c,
                        uint32_t *result) {
  uint64_t most = machine->starting ? UINT32_MAX : machine->hooks->max_memory(host);
  struct message m = {MESSAGE_CALL, number, {a, b, c}, 0, most < UINT32_MAX ? (uint32_t)most : UINT32_MAX};
  struct luacell_image *recorded = &machine->recorded;
  if (machine->process == 0) return UNREACHABLE;
  if (recorded->count < MOST_RECORDED) {
    recorded->calls[recorded->count][0] = number;
    recorded->calls[recorded->count++][1] = a;
  }
  for (bool ok = tell(machine, &m); ok; ok = tell(machine, &m)) {
    if (!hear(machine, &m)) break;
    machine->size = m.size;
    if (m.kind == MESSAGE_RETURN) {
      *result = m.result;
      return DONE;
    }
    int64_t given = answer(machine, host, &m);
    if (given == ABANDON) {
      end(machine, false);
      return HOST_PANIC;
    }
    if (machine->process == 0) return UNREACHABLE;
    m.kind = MESSAGE_ANSWER;
    m.result = (uint32_t)given;
  }
  end(machine, true);
  return UNREACHABLE;
}

static void machine_free(struct luacell_machine *machine) {
  end(machine, false);
  if (machine->window != MAP_FAILED) munmap(machine->window, WINDOW_SIZE);
  free(machine);
}

static struct luacell_machine *machine_new(const struct luacell_image *image, const struct luacell_hooks *hooks,
                                           const uint32_t *clock, size_t max_stack, size_t space) {
  struct luacell_machine *machine = calloc(1, sizeof *machine);
  (void)clock, (void)max_stack, (void)space;
  if (machine == NULL) return NULL;
  machine->hooks = hooks;
  machine->window = MAP_FAILED;
  bool ok = start(machine);
  machine->starting = true;
  for (int i = 0; ok && image != NULL && i < image->count; i++) {
    uint32_t nothing;
    ok = machine_call(machine, NULL, image->calls[i][0], image->calls[i][1], 0, 0, &nothing) == DONE;
  }
  machine->starting = image == NULL;
  if (ok) return machine;
  machine_free(machine);
  return NULL;
}

static bool machine_reset(struct luacell_machine *machine, const struct luacell_image *image) {
  (void)machine, (void)image;
  return false;
}

static uint8_t *machine_memory(const struct luacell_machine *machine, size_t *size) {
  *size = machine->size;
  return machine->window;
}

static uint64_t machine_grow(struct luacell_machine *machine, uint64_t pages, uint64_t max_size) {
  (void)machine, (void)pages, (void)max_size;
  return UINT64_MAX;
}

static struct luacell_image *image_new(const struct luacell_machine *machine) {
  struct luacell_image *image = malloc(sizeof *image);
  if (image != NULL) *image = machine->recorded;
  return image;
}

static void image_free(struct luacell_image *image) { free(image); }

const struct {
  int (*handle_faults)(void);
  struct luacell_machine *(*machine_new)(const struct luacell_image *, const struct luacell_hooks *, const uint32_t *, size_t,
                                         size_t);
  void (*machine_free)(struct luacell_machine *);
  bool (*machine_reset)(struct luacell_machine *, const struct luacell_image *);
  uint8_t *(*machine_memory)(const struct luacell_machine *, size_t *);
  uint64_t (*machine_grow)(struct luacell_machine *, uint64_t, uint64_t);
  int (*machine_call)(struct luacell_machine *, void *, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t *);
  struct luacell_image *(*image_new)(const struct luacell_machine *);
  void (*image_free)(struct luacell_image *);
} luacell_plain = {
    handle_faults, machine_new,  machine_free, machine_reset, machine_memory,
    machine_grow,  machine_call, image_new,    image_free,
};
