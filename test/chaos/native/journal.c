#define _GNU_SOURCE
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The calls below go to the kernel directly (`syscall`) wherever power.c replaces the function of the C library. */

/** A journal that has grown by this much begins anew when nothing in it could be undone any more. */
#define RESET_BYTES (1024 * 1024)

/** A change that is not durable yet. */
struct pending {
  uint64_t op, inode;
  /** Order of its end; 0 while it is under way. */
  uint64_t ended;
  /** Of a change of names: the folders whose flush is missing; 0 for none. */
  uint64_t folders[2];
  /** The name that something has by the change, and its folder. */
  uint64_t new_name, new_folder;
  bool is_name, makes_inode, has_limbo, removes_folder;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *journal_folder, *limbo_folder;
static int journal = -1;
static uint64_t last_order, journal_bytes, next_reset = RESET_BYTES;
static struct pending *pending;
static size_t pending_count, pending_room;

/** A child has a copy of the parent's state, and begins with a journal of its own. */
static void forget_parent(void) {
  pthread_mutex_init(&lock, NULL);
  if (journal >= 0) syscall(SYS_close, journal);
  journal = -1;
  journal_bytes = 0;
  pending_count = 0;
}

void journal_configure(const char *folder, const char *limbo) {
  journal_folder = folder;
  limbo_folder = limbo;
  pthread_atfork(NULL, NULL, forget_parent);
}

/** Without a journal, the test would prove nothing. */
static void fail(const char *what) {
  dprintf(STDERR_FILENO, "power: %s: %s\n", what, strerror(errno));
  abort();
}

static uint64_t tick(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t order = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  last_order = order > last_order ? order : last_order + 1;
  return last_order;
}

static void open_journal(void) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%ld-%llu", journal_folder, (long)getpid(), (unsigned long long)tick());
  journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (journal < 0) fail(path);
}

static void append(struct record record, const void *payload, size_t bytes) {
  if (journal < 0) open_journal();
  record.bytes = (uint32_t)bytes;
  struct iovec parts[2] = {{&record, sizeof record}, {(void *)payload, bytes}};
  size_t left = sizeof record + bytes;
  journal_bytes += left;
  while (left > 0) {
    ssize_t done = syscall(SYS_writev, journal, parts, 2);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail("the journal cannot be written");
    left -= (size_t)done;
    for (int i = 0; i < 2; i++) {
      size_t part = (size_t)done < parts[i].iov_len ? (size_t)done : parts[i].iov_len;
      parts[i].iov_base = (char *)parts[i].iov_base + part;
      parts[i].iov_len -= part;
      done -= (ssize_t)part;
    }
  }
}

static struct pending *add_pending(struct pending change) {
  if (pending_count == pending_room) {
    pending_room = pending_room == 0 ? 64 : pending_room * 2;
    pending = realloc(pending, pending_room * sizeof *pending);
    if (pending == NULL) fail("no memory");
  }
  pending[pending_count] = change;
  return &pending[pending_count++];
}

static struct pending *find_pending(uint64_t op) {
  for (size_t i = pending_count; i-- > 0;) {
    if (pending[i].op == op) return &pending[i];
  }
  return NULL;
}

static void remove_pending(struct pending *change) { *change = pending[--pending_count]; }

static bool is_only_journal(void) {
  DIR *folder = opendir(journal_folder);
  if (folder == NULL) fail(journal_folder);
  int files = 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) files += entry->d_name[0] != '.';
  closedir(folder);
  return files == 1;
}

/** The records of this process may be what makes a change of another one durable: then they stay. */
static void reset_if_settled(void) {
  if (pending_count > 0 || journal_bytes < next_reset) return;
  if (is_only_journal()) {
    if (syscall(SYS_ftruncate, journal, 0) != 0) fail("the journal cannot be emptied");
    journal_bytes = 0;
  }
  next_reset = journal_bytes + RESET_BYTES;
}

static void limbo_path(uint64_t op, char *path) {
  snprintf(path, PATH_MAX, "%s/%016llx", limbo_folder, (unsigned long long)op);
}

static void make_durable(uint64_t begun, uint64_t inode);

/**
 * The change of names is durable. If that frees an inode, the journal says so before the inode gets another use: its
 * former changes must not be undone in the next file.
 */
static void settle_name(struct pending change) {
  char path[PATH_MAX];
  struct stat file;
  limbo_path(change.op, path);
  uint64_t freed = change.removes_folder ? change.inode : 0;
  if (change.has_limbo && lstat(path, &file) == 0 && file.st_nlink == 1) freed = file.st_ino;
  if (freed != 0) make_durable(tick(), freed);
  if (change.has_limbo) syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static bool settles(struct pending *change, uint64_t begun, uint64_t inode) {
  if (change->ended == 0 || change->ended >= begun) return false;
  if (!change->is_name) return inode == 0 || change->inode == inode;
  for (int i = 0; i < 2; i++) {
    if (inode == 0 || change->folders[i] == inode) change->folders[i] = 0;
  }
  return change->folders[0] == 0 && change->folders[1] == 0;
}

static void make_durable(uint64_t begun, uint64_t inode) {
  append((struct record){.kind = RECORD_FLUSHED, .order = tick(), .op = begun, .inode = inode}, NULL, 0);
  for (size_t i = 0; i < pending_count;) {
    if (!settles(&pending[i], begun, inode)) {
      i++;
      continue;
    }
    struct pending change = pending[i];
    remove_pending(&pending[i]);
    if (!change.is_name) continue;
    settle_name(change);
    /* That may have settled others. */
    i = 0;
  }
}

uint64_t journal_write_begins(int reader, const struct stat *file, uint64_t offset, uint64_t count) {
  uint64_t size = (uint64_t)file->st_size;
  size_t replaced = offset >= size ? 0 : count < size - offset ? count : size - offset;
  char *bytes = replaced == 0 ? NULL : malloc(replaced);
  if (replaced > 0 && bytes == NULL) fail("no memory");
  for (size_t done = 0; done < replaced;) {
    ssize_t got = pread(reader, bytes + done, replaced - done, (off_t)(offset + done));
    if (got <= 0) fail("the bytes that a write replaces cannot be read");
    done += (size_t)got;
  }
  pthread_mutex_lock(&lock);
  uint64_t op = tick();
  struct record record = {.kind = RECORD_WRITE, .order = op, .op = op, .inode = file->st_ino};
  record.a = offset;
  record.b = count;
  record.c = size;
  append(record, bytes, replaced);
  add_pending((struct pending){.op = op, .inode = file->st_ino});
  pthread_mutex_unlock(&lock);
  free(bytes);
  return op;
}

void journal_write_ended(uint64_t op, uint64_t inode, uint64_t written, uint64_t size, bool durable) {
  pthread_mutex_lock(&lock);
  struct record record = {.kind = RECORD_WRITTEN, .order = tick(), .op = op, .inode = inode};
  record.a = written;
  record.b = size;
  record.c = durable;
  append(record, NULL, 0);
  struct pending *change = find_pending(op);
  if (durable || written == 0) remove_pending(change);
  else change->ended = record.order;
  reset_if_settled();
  pthread_mutex_unlock(&lock);
}

uint64_t journal_flush_begins(void) {
  pthread_mutex_lock(&lock);
  uint64_t begun = tick();
  pthread_mutex_unlock(&lock);
  return begun;
}

void journal_flush_ended(uint64_t begun, uint64_t inode) {
  pthread_mutex_lock(&lock);
  make_durable(begun, inode);
  reset_if_settled();
  pthread_mutex_unlock(&lock);
}

/** FNV-1a. */
static uint64_t hash_name(const char *name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (; *name != 0; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
  return hash;
}

/** Whether what has the name was made, and its name was never durable. */
static bool is_new(const struct place *place) {
  uint64_t hash = hash_name(place->name);
  const struct pending *newest = NULL;
  for (const struct pending *each = pending; each < pending + pending_count; each++) {
    bool is_same = each->new_name == hash && each->new_folder == place->folder;
    if (is_same && (newest == NULL || each->op > newest->op)) newest = each;
  }
  return newest != NULL && newest->makes_inode;
}

/**
 * Puts the inode that loses its name into limbo. Returns false if the change counts at once: the name was never
 * durable, or a full disk has no room for another one. Limbo must not take the space that a process makes there.
 */
static bool keep_displaced(uint64_t op, bool never_durable, int at, const char *displaced) {
  char path[PATH_MAX];
  struct stat file;
  limbo_path(op, path);
  if (!never_durable && syscall(SYS_linkat, at, displaced, AT_FDCWD, path, 0) == 0) return true;
  if (!never_durable && errno != ENOSPC && errno != EDQUOT) fail("limbo cannot keep an inode");
  bool is_last = fstatat(at, displaced, &file, AT_SYMLINK_NOFOLLOW) == 0 && file.st_nlink == 1;
  if (is_last) make_durable(tick(), file.st_ino);
  return false;
}

uint64_t journal_name_begins(enum name_change change, uint64_t inode, const struct place *from, const struct place *to,
                             int at, const char *displaced) {
  char names[2 * sizeof from->name];
  size_t length = strlen(from->name) + 1, other = to == NULL ? 0 : strlen(to->name) + 1;
  memcpy(names, from->name, length);
  if (to != NULL) memcpy(names + length, to->name, other);
  pthread_mutex_lock(&lock);
  uint64_t op = tick();
  bool has_limbo = change == NAME_REMOVED || change == NAME_REPLACED;
  if (has_limbo && !keep_displaced(op, change == NAME_REMOVED && is_new(from), at, displaced)) {
    pthread_mutex_unlock(&lock);
    return 0;
  }
  struct record record = {.kind = RECORD_NAME, .order = op, .op = op, .inode = inode, .a = from->folder, .c = change};
  if (to != NULL) record.b = to->folder;
  append(record, names, length + other);
  struct pending added = {.op = op, .inode = inode, .is_name = true, .has_limbo = has_limbo};
  added.folders[0] = record.a;
  added.folders[1] = record.b;
  added.removes_folder = change == NAME_FOLDER_REMOVED;
  const struct place *named = change == NAME_MADE ? from : to;
  if (named != NULL) added.new_name = hash_name(named->name);
  if (named != NULL) added.new_folder = named->folder;
  added.makes_inode = change == NAME_MADE;
  add_pending(added);
  pthread_mutex_unlock(&lock);
  return op;
}

void journal_name_ended(uint64_t op, bool done) {
  if (op == 0) return;
  pthread_mutex_lock(&lock);
  struct record record = {.kind = RECORD_NAMED, .order = tick(), .op = op, .a = done};
  append(record, NULL, 0);
  struct pending *change = find_pending(op);
  change->ended = record.order;
  if (!done) {
    char path[PATH_MAX];
    limbo_path(op, path);
    if (change->has_limbo) syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    remove_pending(change);
  }
  pthread_mutex_unlock(&lock);
}

void journal_unseen(const char *reason, const char *path) {
  char text[PATH_MAX + 128];
  int length = snprintf(text, sizeof text, "%s: %s", path, reason);
  pthread_mutex_lock(&lock);
  append((struct record){.kind = RECORD_UNSEEN, .order = tick()}, text, (size_t)length);
  pthread_mutex_unlock(&lock);
}
