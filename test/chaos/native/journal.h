/*
 * The undo journal: what a loss of power could still undo.
 *
 * Each process writes a journal file of its own, so that no lock crosses processes. Every record carries an order,
 * which is CLOCK_MONOTONIC in nanoseconds and rises within a process, so the restore can merge the files. A record is a
 * `struct record` and `bytes` of payload. `../src/power/journal.ts` reads them.
 *
 * A change is journaled in two records. The first comes before the change and holds what undoes it. The second comes
 * after it and says what has happened. If a process is killed in between, the change may or may not have happened.
 */
#ifndef QUIRE_POWER_JOURNAL_H
#define QUIRE_POWER_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum record_kind {
  /** A write begins: a = offset, b = length, c = size of the file; payload: the bytes that the write replaces. */
  RECORD_WRITE = 1,
  /** It has ended: a = bytes written, b = size of the file, c = 1 if the bytes are durable. */
  RECORD_WRITTEN = 2,
  /** Everything of an inode (0: of all) that had ended before `op` is durable. */
  RECORD_FLUSHED = 3,
  /** A name changes: a and b = folders, c = enum name_change; payload: a name of each folder, each with a zero. */
  RECORD_NAME = 4,
  /** It has changed: a = 1, or the call has failed: a = 0. */
  RECORD_NAMED = 5,
  /** Something happened that the journal cannot undo; payload: what. */
  RECORD_UNSEEN = 6
};

enum name_change {
  /** `a/name` exists now. */
  NAME_MADE = 0,
  /** `a/name` is gone. Limbo has the inode under the number of the change. */
  NAME_REMOVED = 1,
  /** The folder `a/name` is gone. It was empty. */
  NAME_FOLDER_REMOVED = 2,
  /** `a/name` is `b/name` now, and nothing had that name. */
  NAME_MOVED = 3,
  /** `a/name` is `b/name` now. Limbo has the inode that had that name. */
  NAME_REPLACED = 4
};

struct record {
  uint32_t kind;
  uint32_t bytes;
  uint64_t order;
  /** The order of the record with which the change began. */
  uint64_t op;
  uint64_t inode;
  uint64_t a, b, c;
};

/** A name in a watched folder. */
struct place {
  uint64_t folder;
  char name[256];
};

/** Files go into `folder`, the former content of names into `limbo`. Neither is copied. */
void journal_configure(const char *folder, const char *limbo);

/** Returns the number of the write. `reader` is a descriptor that can read the file. */
uint64_t journal_write_begins(int reader, const struct stat *file, uint64_t offset, uint64_t count);
void journal_write_ended(uint64_t op, uint64_t inode, uint64_t written, uint64_t size, bool durable);

uint64_t journal_flush_begins(void);
void journal_flush_ended(uint64_t begun, uint64_t inode);

/**
 * Returns the number of the change, or 0 if it needs no record. `inode` is that of the name that changes. For
 * NAME_REMOVED and NAME_REPLACED, `displaced` is a path (below `at`) of the inode that goes to limbo.
 */
uint64_t journal_name_begins(enum name_change change, uint64_t inode, const struct place *from, const struct place *to,
                             int at, const char *displaced);
void journal_name_ended(uint64_t op, bool done);

/** Makes the restore fail with this reason. */
void journal_unseen(const char *reason, const char *path);

#endif
