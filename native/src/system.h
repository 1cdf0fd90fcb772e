/* What the interposer asks of the operating system, with the contracts stated once. Nothing here touches signal
 * handlers, the umask, or the environment; errno is the caller's to save where that matters (hooks do not promise
 * errno, dlsym does not come here). */
#ifndef VRAMSHARE_SYSTEM_H
#define VRAMSHARE_SYSTEM_H

#include "account.h"
#include "base.h"

/* A process: as it is written into its slot. */
struct vs_identity {
    uint64_t owner; /* never 0 */
    uint64_t start;
    uint64_t pidns; /* 0: /proc is not there */
    uint32_t pid, uid;
    char command[16];
};

/* This process. */
void vs_identify(struct vs_identity *out);

/* Whether the process that took a slot is dead for certain. `file`: the region, for its byte locks. */
bool vs_is_dead(const struct vs_view *view, unsigned slot, uint64_t owner, uint64_t own_pidns, int file);

/* Takes the byte lock of a slot, so that processes that cannot see our PID know that we live. False: somebody else
 * holds it. Without a file there are no locks: true. */
bool vs_slot_lock(const struct vs_view *view, unsigned slot, int file);

/* Whether another process holds it. */
bool vs_slot_is_locked(const struct vs_view *view, unsigned slot, int file);

/* Gives it back. */
void vs_slot_unlock(const struct vs_view *view, unsigned slot, int file);

/* Reads a whole small file. -1: it does not exist; -2: it cannot be read; else its length, cut to `room`.
 * `mark`: values that differ when the file was replaced or changed. */
long vs_read_file(const char *path, char *buffer, size_t room, uint64_t mark[4]);

/* Reads only the mark of a file. False: it cannot be looked at. */
bool vs_mark_file(const char *path, uint64_t mark[4]);

struct stat;

/* stat and fstat (path NULL) by system call: the C library's own have a different symbol in every age. */
int vs_stat(int file, const char *path, struct stat *out);

/* Whether this process runs with more rights than who started it: environment and files of others are not used. */
bool vs_is_secure(void);

/* The environment variable, NULL in a secure process. */
const char *vs_variable(const char *name);

/* A mapped region. */
struct vs_mapping {
    void *base;
    uint64_t size;
    int file;        /* -1: private to this process and its forks */
    const char *why; /* NULL, or why the file could not be used */
};

/* Maps the region at `path`, making it if it is absent and `make` allows; a private one if that fails or if path
 * is NULL. base NULL: not even that. */
struct vs_mapping vs_map_region(const char *path, bool make);

/* The descriptor, if it still leads to the mapped file: programs close descriptors that they do not know. */
int vs_region_file(const struct vs_mapping *mapping, const char *path);

/* Sleeps; for the rare waits for another process's request to settle. */
void vs_pause(uint64_t nanoseconds);

#endif
