/*
 * Watches how a process changes the files below a folder, so that a test can take away what a loss of power could.
 *
 * Preloaded (LD_PRELOAD), it stands in front of the functions of the C library that change files and names. It writes
 * an undo journal (journal.h) and then calls the kernel. It is for Linux with glibc and 64 bits; libuv must not use
 * io_uring, which passes the C library by (UV_USE_IO_URING=0).
 *
 * The rules are those of POSIX, and harsher than most file systems:
 * - Written bytes and sizes become durable by fsync or fdatasync of the file, or by a descriptor with O_SYNC or
 *   O_DSYNC.
 * - A name that is made, moved or removed becomes durable by fsync of its folder, and by nothing else. A move between
 *   two folders needs both.
 *
 * Not watched: sockets, because nothing may depend on one after a restart, and what the C library does on its own
 * behalf, such as `fopen` and `mkstemp`, which Node and LMDB do not use for data.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "journal.h"

#if !defined(__LP64__) || !defined(__GLIBC__)
#error "needs glibc and 64 bits"
#endif

/** Another name for the same function: with 64 bits, all offsets are 64 bits long. */
#define ALSO(name) __attribute__((alias(name)))

static const char *root;
static size_t root_length;
static dev_t root_device;
/** One change of names at a time: whether a name exists must not change between the look and the call. */
static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;

static void renew_lock(void) { pthread_mutex_init(&names, NULL); }

__attribute__((constructor)) static void configure(void) {
  const char *folder = getenv("QUIRE_POWER_ROOT"), *journal = getenv("QUIRE_POWER_JOURNAL");
  const char *limbo = getenv("QUIRE_POWER_LIMBO");
  struct stat status;
  if (folder == NULL || journal == NULL || limbo == NULL) return;
  if (stat(folder, &status) != 0) {
    dprintf(STDERR_FILENO, "power: %s: %s\n", folder, strerror(errno));
    abort();
  }
  journal_configure(journal, limbo);
  pthread_atfork(NULL, NULL, renew_lock);
  root_length = strlen(folder);
  root_device = status.st_dev;
  root = folder;
}

/** Whether a descriptor is the folder or below it. Gives its path. A file without a name cannot come back. */
static bool is_below_root(int fd, char *path) {
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < (ssize_t)root_length) return false;
  path[length] = 0;
  return strncmp(path, root, root_length) == 0 && (path[root_length] == 0 || path[root_length] == '/');
}

/**
 * Signal handlers write too, to pipes. So this calls the kernel directly: another preloaded library may stand in front
 * of `fstat` and take locks there (libfaketime).
 */
static bool is_watched(int fd, struct stat *file, char *path) {
  int before = errno;
  bool is_known = root != NULL && syscall(SYS_fstat, fd, file) == 0;
  bool is_file = is_known && (S_ISREG(file->st_mode) || S_ISDIR(file->st_mode));
  bool watched = is_file && file->st_dev == root_device && file->st_nlink > 0 && is_below_root(fd, path);
  errno = before;
  return watched;
}

/* -- content -- */

/** A write, from before it until after it. */
struct attempt {
  bool watched, durable;
  uint64_t op, inode, offset, size;
};

/** A descriptor of the same file that can read: the file's own, or a new one. */
static int reader_of(int fd, int flags) {
  if ((flags & O_ACCMODE) != O_WRONLY && (flags & O_DIRECT) == 0) return fd;
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
}

/** `offset` is -1 for the descriptor's own. */
static struct attempt begin_write(int fd, off_t offset, size_t count, bool durable) {
  struct attempt attempt = {0};
  struct stat file;
  char path[PATH_MAX];
  if (!is_watched(fd, &file, path)) return attempt;
  int before = errno, flags = fcntl(fd, F_GETFL);
  if ((flags & O_APPEND) != 0) offset = file.st_size;
  else if (offset < 0) offset = lseek(fd, 0, SEEK_CUR);
  int reader = reader_of(fd, flags);
  attempt.watched = true;
  attempt.durable = durable || (flags & O_DSYNC) != 0;
  attempt.inode = file.st_ino;
  attempt.offset = (uint64_t)offset;
  attempt.size = (uint64_t)file.st_size;
  attempt.op = journal_write_begins(reader, &file, (uint64_t)offset, count);
  if (reader != fd) syscall(SYS_close, reader);
  errno = before;
  return attempt;
}

static ssize_t end_write(struct attempt attempt, ssize_t result) {
  if (!attempt.watched) return result;
  int before = errno;
  uint64_t written = result > 0 ? (uint64_t)result : 0, end = attempt.offset + written;
  uint64_t size = written > 0 && end > attempt.size ? end : attempt.size;
  journal_write_ended(attempt.op, attempt.inode, written, size, attempt.durable);
  errno = before;
  return result;
}

static size_t total(const struct iovec *parts, int count) {
  size_t bytes = 0;
  for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
  return bytes;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  struct attempt attempt = begin_write(fd, -1, count, false);
  return end_write(attempt, syscall(SYS_write, fd, bytes, count));
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  struct attempt attempt = begin_write(fd, offset, count, false);
  return end_write(attempt, syscall(SYS_pwrite64, fd, bytes, count, offset));
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) ALSO("pwrite");

ssize_t writev(int fd, const struct iovec *parts, int count) {
  struct attempt attempt = begin_write(fd, -1, total(parts, count), false);
  return end_write(attempt, syscall(SYS_writev, fd, parts, count));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  struct attempt attempt = begin_write(fd, offset, total(parts, count), false);
  return end_write(attempt, syscall(SYS_pwritev, fd, parts, count, offset, 0));
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) ALSO("pwritev");

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
  struct attempt attempt = begin_write(fd, offset, total(parts, count), (flags & (RWF_DSYNC | RWF_SYNC)) != 0);
  return end_write(attempt, syscall(SYS_pwritev2, fd, parts, count, offset, 0, flags));
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags) ALSO("pwritev2");

ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
  struct attempt attempt = begin_write(to, -1, count, false);
  return end_write(attempt, syscall(SYS_sendfile, to, from, offset, count));
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t count) ALSO("sendfile");

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
  struct attempt attempt = begin_write(to, to_at == NULL ? -1 : *to_at, count, false);
  return end_write(attempt, syscall(SYS_copy_file_range, from, from_at, to, to_at, count, flags));
}

/** The write of a truncation is what it cuts off or adds. */
static struct attempt begin_truncation(int fd, off_t size) {
  struct attempt attempt = {0};
  struct stat file;
  char path[PATH_MAX];
  if (!is_watched(fd, &file, path) || size == file.st_size) return attempt;
  off_t from = size < file.st_size ? size : file.st_size, to = size < file.st_size ? file.st_size : size;
  attempt = begin_write(fd, from, (size_t)(to - from), false);
  attempt.durable = false;
  return attempt;
}

static int end_truncation(struct attempt attempt, off_t size, int result) {
  if (!attempt.watched) return result;
  int before = errno;
  uint64_t now = (uint64_t)size, changed = now < attempt.size ? attempt.size - now : now - attempt.size;
  journal_write_ended(attempt.op, attempt.inode, result >= 0 ? changed : 0, result >= 0 ? now : attempt.size, false);
  errno = before;
  return result;
}

int ftruncate(int fd, off_t size) {
  struct attempt attempt = begin_truncation(fd, size);
  return end_truncation(attempt, size, (int)syscall(SYS_ftruncate, fd, size));
}
int ftruncate64(int fd, off64_t size) ALSO("ftruncate");

int truncate(const char *path, off_t size) {
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return -1;
  int result = ftruncate(fd, size), error = errno;
  syscall(SYS_close, fd);
  errno = error;
  return result;
}
int truncate64(const char *path, off64_t size) ALSO("truncate");

int fallocate(int fd, int mode, off_t offset, off_t length) {
  struct attempt attempt = begin_write(fd, offset, (size_t)length, false);
  int result = (int)syscall(SYS_fallocate, fd, mode, offset, length);
  if (!attempt.watched) return result;
  int before = errno;
  struct stat file;
  uint64_t size = fstat(fd, &file) == 0 ? (uint64_t)file.st_size : attempt.size;
  journal_write_ended(attempt.op, attempt.inode, result == 0 ? (uint64_t)length : 0, size, false);
  errno = before;
  return result;
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) ALSO("fallocate");

int posix_fallocate(int fd, off_t offset, off_t length) { return fallocate(fd, 0, offset, length) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) ALSO("posix_fallocate");

/* -- flushes -- */

static int flush(int fd, long call) {
  struct stat file;
  char path[PATH_MAX];
  if (!is_watched(fd, &file, path)) return (int)syscall(call, fd);
  /* A write that ends while the flush runs may miss it. */
  uint64_t begun = journal_flush_begins();
  int result = (int)syscall(call, fd), before = errno;
  if (result == 0) journal_flush_ended(begun, file.st_ino);
  errno = before;
  return result;
}

int fsync(int fd) { return flush(fd, SYS_fsync); }
int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }

void sync(void) {
  uint64_t begun = root == NULL ? 0 : journal_flush_begins();
  syscall(SYS_sync);
  if (root != NULL) journal_flush_ended(begun, 0);
}

int syncfs(int fd) {
  struct stat file;
  bool watched = root != NULL && fstat(fd, &file) == 0 && file.st_dev == root_device;
  uint64_t begun = watched ? journal_flush_begins() : 0;
  int result = (int)syscall(SYS_syncfs, fd), before = errno;
  if (watched && result == 0) journal_flush_ended(begun, 0);
  errno = before;
  return result;
}

/* -- mapped files -- */

/*
 * The journal of a peer shows how LMDB commits: it writes the pages of a transaction by pwrite and writev, calls
 * fdatasync, and then writes the meta page (128 bytes) on a second descriptor, with O_DSYNC. It maps the data file
 * read-only. Its lock file is mapped for writing, but nothing in it survives the processes.
 */
void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  struct stat file;
  char path[PATH_MAX];
  bool is_shared = (flags & MAP_TYPE) != MAP_PRIVATE && (protection & PROT_WRITE) != 0 && (flags & MAP_ANONYMOUS) == 0;
  if (is_shared && is_watched(fd, &file, path)) {
    size_t end = strlen(path);
    bool is_lock = end >= 5 && strcmp(path + end - 5, "-lock") == 0;
    if (!is_lock) journal_unseen("mapped for shared writes, which the shim cannot see", path);
  }
  return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) ALSO("mmap");

/* -- names -- */

/** Returns whether the path names something in a watched folder, and where. */
static bool find_place(int at, const char *path, struct place *place) {
  if (root == NULL || path == NULL) return false;
  int before = errno;
  char parent[PATH_MAX], real[PATH_MAX];
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  if (length == 0 || length >= sizeof parent) return false;
  memcpy(parent, path, length);
  parent[length] = 0;
  char *slash = strrchr(parent, '/'), *name = slash == NULL ? parent : slash + 1;
  if (strlen(name) >= sizeof place->name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
  strcpy(place->name, name);
  const char *above = slash == NULL ? "." : slash == parent ? "/" : parent;
  if (slash != NULL && slash != parent) *slash = 0;
  int folder = (int)syscall(SYS_openat, at, above, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  struct stat status;
  bool is_known = folder >= 0 && fstat(folder, &status) == 0;
  bool watched = is_known && status.st_dev == root_device && is_below_root(folder, real);
  if (folder >= 0) syscall(SYS_close, folder);
  place->folder = status.st_ino;
  errno = before;
  return watched;
}

static bool look(int at, const char *path, struct stat *status) {
  int before = errno;
  bool exists = fstatat(at, path, status, AT_SYMLINK_NOFOLLOW) == 0;
  errno = before;
  return exists;
}

static int end_name(uint64_t op, int result) {
  int before = errno;
  journal_name_ended(op, result >= 0);
  errno = before;
  return result;
}

static int open_truncated(int at, const char *path, int flags, mode_t mode) {
  int writer = (int)syscall(SYS_openat, at, path, O_WRONLY | O_CLOEXEC, 0);
  struct attempt attempt = {0};
  if (writer >= 0) attempt = begin_truncation(writer, 0);
  int result = end_truncation(attempt, 0, (int)syscall(SYS_openat, at, path, flags, mode)), before = errno;
  if (writer >= 0) syscall(SYS_close, writer);
  errno = before;
  return result;
}

static int open_file(int at, const char *path, int flags, mode_t mode) {
  struct place place;
  struct stat status;
  bool is_change = (flags & (O_CREAT | O_TRUNC)) != 0 && (flags & O_TMPFILE) != O_TMPFILE;
  if (!is_change || !find_place(at, path, &place)) return (int)syscall(SYS_openat, at, path, flags, mode);
  int result;
  pthread_mutex_lock(&names);
  bool exists = look(at, path, &status);
  if (!exists && (flags & O_CREAT) != 0) {
    uint64_t op = journal_name_begins(NAME_MADE, 0, &place, NULL, at, NULL);
    result = end_name(op, (int)syscall(SYS_openat, at, path, flags, mode));
  } else if (exists && (flags & O_TRUNC) != 0 && S_ISREG(status.st_mode)) {
    result = open_truncated(at, path, flags, mode);
  } else {
    result = (int)syscall(SYS_openat, at, path, flags, mode);
  }
  pthread_mutex_unlock(&names);
  return result;
}

/** The mode that follows the flags, if these make a file. */
#define MODE_AFTER(flags)                                               \
  mode_t mode = 0;                                                      \
  if (((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE) { \
    va_list rest;                                                       \
    va_start(rest, flags);                                              \
    mode = va_arg(rest, mode_t);                                        \
    va_end(rest);                                                       \
  }

int open(const char *path, int flags, ...) {
  MODE_AFTER(flags)
  return open_file(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) ALSO("open");

int openat(int at, const char *path, int flags, ...) {
  MODE_AFTER(flags)
  return open_file(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) ALSO("openat");

int creat(const char *path, mode_t mode) { return open_file(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) ALSO("creat");

/** Runs `call`, which makes the name `path`, or fails if there is one. */
#define MAKE(at, path, call)                                                        \
  struct place place;                                                               \
  struct stat status;                                                               \
  if (!find_place(at, path, &place)) return (int)(call);                            \
  pthread_mutex_lock(&names);                                                       \
  bool exists = look(at, path, &status);                                            \
  uint64_t op = exists ? 0 : journal_name_begins(NAME_MADE, 0, &place, NULL, at, NULL); \
  int result = (int)(call);                                                         \
  if (!exists) result = end_name(op, result);                                       \
  pthread_mutex_unlock(&names);                                                     \
  return result;

int mkdirat(int at, const char *path, mode_t mode) { MAKE(at, path, syscall(SYS_mkdirat, at, path, mode)) }
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int at, const char *path, int to, const char *name, int flags) {
  MAKE(to, name, syscall(SYS_linkat, at, path, to, name, flags))
}
int link(const char *path, const char *name) { return linkat(AT_FDCWD, path, AT_FDCWD, name, 0); }

int symlinkat(const char *target, int at, const char *path) { MAKE(at, path, syscall(SYS_symlinkat, target, at, path)) }
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

int unlinkat(int at, const char *path, int flags) {
  struct place place;
  struct stat status;
  if (!find_place(at, path, &place)) return (int)syscall(SYS_unlinkat, at, path, flags);
  pthread_mutex_lock(&names);
  int result;
  if (!look(at, path, &status) || S_ISDIR(status.st_mode) != ((flags & AT_REMOVEDIR) != 0)) {
    /* The kernel refuses it. */
    result = (int)syscall(SYS_unlinkat, at, path, flags);
  } else {
    enum name_change change = S_ISDIR(status.st_mode) ? NAME_FOLDER_REMOVED : NAME_REMOVED;
    uint64_t op = journal_name_begins(change, status.st_ino, &place, NULL, at, path);
    result = end_name(op, (int)syscall(SYS_unlinkat, at, path, flags));
  }
  pthread_mutex_unlock(&names);
  return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int remove(const char *path) {
  int result = unlink(path);
  return result < 0 && errno == EISDIR ? rmdir(path) : result;
}

int renameat2(int from, const char *old, int to, const char *name, unsigned flags) {
  struct place source, target;
  bool leaves = find_place(from, old, &source), enters = find_place(to, name, &target);
  if (!leaves && !enters) return (int)syscall(SYS_renameat2, from, old, to, name, flags);
  if (!leaves || !enters) journal_unseen("moved into or out of the watched folder", name);
  struct stat moved, replaced;
  pthread_mutex_lock(&names);
  bool exists = look(to, name, &replaced), is_seen = leaves && enters && look(from, old, &moved);
  if (is_seen && exists && (S_ISDIR(replaced.st_mode) || (flags & RENAME_EXCHANGE) != 0)) {
    journal_unseen("replaced as a folder, or exchanged", name);
    is_seen = false;
  }
  /* Two names of one inode: the kernel does nothing. */
  if (is_seen && exists && moved.st_ino == replaced.st_ino) is_seen = false;
  uint64_t op = 0;
  if (is_seen) {
    enum name_change change = exists ? NAME_REPLACED : NAME_MOVED;
    op = journal_name_begins(change, moved.st_ino, &source, &target, to, name);
  }
  int result = (int)syscall(SYS_renameat2, from, old, to, name, flags);
  if (is_seen) result = end_name(op, result);
  pthread_mutex_unlock(&names);
  return result;
}
int renameat(int from, const char *old, int to, const char *name) { return renameat2(from, old, to, name, 0); }
int rename(const char *old, const char *name) { return renameat2(AT_FDCWD, old, AT_FDCWD, name, 0); }
