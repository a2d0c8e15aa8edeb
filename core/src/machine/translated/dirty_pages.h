// Which pages of a private mapping were written to, as Linux 6.7 and later tell it: ioctl(PAGEMAP_SCAN), see the kernel's
// Documentation/admin-guide/mm/pagemap.rst. Elsewhere nobody can tell.

#if defined(__linux__)

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// Of the kernel's interface, which the system's headers may be too old for.
struct page_run {
  uint64_t start, end, categories;
};

struct scan {
  uint64_t size, flags, start, end, walk_end, runs, runs_len, max_pages;
  uint64_t inverted, all_of, any_of, returned;
};

#define SCAN _IOWR('f', 16, struct scan)

enum { OF_FILE = 1 << 2, PRESENT = 1 << 3, SWAPPED = 1 << 4, ZERO_PAGE = 1 << 5 };

#if !defined(MADV_WIPEONFORK)
#define MADV_WIPEONFORK 18
#endif

struct written_pages {
  // /proc/self/pagemap of the process that made this; -1 where there is none.
  int pagemap;
  // Zero in a child of that process: it has the file, but of its parent.
  const volatile uint8_t *in_our_process;
};

#define MOST_RUNS 128

// How many runs of pages were written to, or -1: nobody can tell, or too many.
static int written_between(
    const struct written_pages *written, const uint8_t *from, const uint8_t *to, size_t most_bytes, struct page_run *runs) {
  if (written->pagemap < 0 || !*written->in_our_process) {
    return -1;
  }
  struct scan scan = {
    .size = sizeof scan,
    .start = (uintptr_t)from,
    .end = (uintptr_t)to,
    .runs = (uintptr_t)runs,
    .runs_len = MOST_RUNS,
    .max_pages = most_bytes / (size_t)sysconf(_SC_PAGESIZE),
    .inverted = OF_FILE | ZERO_PAGE,
    .all_of = OF_FILE | ZERO_PAGE,
    .any_of = PRESENT | SWAPPED,
  };
  int found = ioctl(written->pagemap, SCAN, &scan);
  return scan.walk_end == scan.end ? found : -1;
}

static void written_close(struct written_pages *written) {
  if (written->in_our_process) {
    munmap((void *)written->in_our_process, (size_t)sysconf(_SC_PAGESIZE));
  }
  if (written->pagemap >= 0) {
    close(written->pagemap);
  }
  written->in_our_process = NULL;
  written->pagemap = -1;
}

static void written_open(struct written_pages *written) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  written->in_our_process = NULL;
  written->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  uint8_t *mark = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  if (mark == MAP_FAILED) {
    written_close(written);
    return;
  }
  written->in_our_process = mark;
  struct page_run runs[MOST_RUNS];
  bool can_mark = madvise(mark, page, MADV_WIPEONFORK) == 0;
  *mark = 1;
  // The page just written to has to be found: who finds nothing has another kernel, or one that does not say.
  if (!can_mark || written_between(written, mark, mark + page, 2 * page, runs) != 1) {
    written_close(written);
  }
}

#else

#define MOST_RUNS 1

struct page_run {
  uint64_t start, end;
};

struct written_pages {
  char nothing;
};

static int written_between(
    const struct written_pages *written, const uint8_t *from, const uint8_t *to, size_t most_bytes, struct page_run *runs) {
  (void)written, (void)from, (void)to, (void)most_bytes, (void)runs;
  return -1;
}

static void written_open(struct written_pages *written) {
  (void)written;
}

static void written_close(struct written_pages *written) {
  (void)written;
}

#endif
