/* The machine's books: how much of each simulated GPU every process holds.
 *
 * A real driver keeps these in the kernel. Here they are one file in the state
 * folder, mapped by every process. A process owns one page of the books (its
 * entry) and an fcntl byte lock at that entry's place: the kernel drops the
 * lock when the process dies, however it dies, and then the entry counts no
 * more. There is no shared total that a killed process could leave wrong; the
 * sum is taken over live entries each time.
 *
 * fcntl locks also tell a reader the owner's PID in the reader's own PID
 * namespace, as NVML does. */
#ifndef FAKEGPU_BOOKS_H
#define FAKEGPU_BOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "description.h"

enum { BOOKS_ENTRIES = 1024 };

/* What one process holds of one GPU. */
struct books_use {
    uint64_t bytes;          /* device memory, contexts included */
    uint64_t hidden;         /* of these, what process lists do not show */
    uint64_t peak;           /* most ever held */
    uint64_t contexts;       /* live contexts */
    uint64_t busy_until;     /* CLOCK_MONOTONIC ns: end of all work given so far */
    uint64_t busy_ns;        /* GPU time of all work given so far */
    uint64_t launches;       /* kernels and graphs started */
};

/* What one other process holds, for process lists. */
struct books_process {
    unsigned pid;            /* 0 if it lies outside the caller's PID namespace */
    struct books_use use;
};

/* Opens the books of the state folder and finds (or adds) a row for each GPU.
 * Returns 0, or -1 if the folder cannot be written. Safe to call again. */
int books_open(const struct fake_gpu *gpus, int count);

/* Claims this process's entry, at once and for life. Returns 0, or -1 when all
 * entries are taken. */
int books_join(void);

/* The child of a fork owns no entry: forgets the parent's. */
void books_forget(void);

/* Adds `bytes` to this process's use of the GPU at `index` if the sum over all
 * live processes stays within `capacity`. Returns false, and changes nothing,
 * otherwise. */
bool books_take(int index, uint64_t bytes, uint64_t capacity);

/* Returns `bytes` that books_take gave. */
void books_give(int index, uint64_t bytes);

/* Bytes held by all live processes on the GPU at `index`. */
uint64_t books_used(int index);

/* This process's own line for the GPU at `index`; NULL before books_join. */
struct books_use *books_mine(int index);

/* Copies the lines of live processes that have a context there. Returns how
 * many there are, which may be more than `room`. */
int books_processes(int index, struct books_process *out, int room);

/* How many live processes have work running at `now` on the GPU at `index`,
 * other than this one. */
int books_busy_others(int index, uint64_t now);

#endif
