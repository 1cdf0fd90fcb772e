/* What the files of the fake libcuda share: state, lock, contexts, streams,
 * allocations. One mutex guards everything; a simulated driver need not be fast,
 * except in its do-nothing mode (driver.nothing), which takes no lock. */
#ifndef FAKEGPU_DRIVER_H
#define FAKEGPU_DRIVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "abi.h"
#include "books.h"
#include "description.h"

enum { FAKE_CUDA_VERSION = 13000, STACK_DEPTH = 64, MAX_STREAM_QUEUE = 1024 };

#define MIB (1ull << 20)
#define CHUNK (2 * MIB) /* the driver takes device memory in pieces of this size */

/* A context: primary, created, or green. */
struct fake_context {
    uint64_t mark;            /* CONTEXT_MARK while alive */
    int device;
    bool primary, green;
    unsigned flags, version;
    unsigned retained;        /* primary only: references held */
    uint64_t id;
    uint64_t charged;         /* device memory of the context itself */
    uint64_t stack, printf_fifo, malloc_heap; /* limits as set */
    uint64_t stack_charged, heap_charged, fifo_charged;
    struct fake_stream *streams; /* all, the default one last */
    struct fake_context *next;
};

/* A stream's future: when all it was given will be done. */
struct fake_stream {
    uint64_t mark;            /* STREAM_MARK while alive */
    struct fake_context *context;
    unsigned flags;
    int priority;
    uint64_t id;
    uint64_t tail;            /* CLOCK_MONOTONIC ns */
    uint64_t ends[MAX_STREAM_QUEUE]; /* when each of the last items ends */
    unsigned issued;
    struct fake_graph *capturing;    /* NULL: not in capture */
    int capture_mode;         /* 0 global, 1 thread-local, 2 relaxed */
    bool capture_broken;      /* an unsafe call was made meanwhile */
    pthread_t capture_thread;
    uint64_t capture_id;
    struct fake_stream *next;
};

#define CONTEXT_MARK 0x58544346454b4146ull
#define STREAM_MARK 0x4d5254534b414546ull
#define STREAM_LEGACY ((struct fake_stream *)1)
#define STREAM_PER_THREAD ((struct fake_stream *)2)

/* What a device pointer is. */
enum range_kind { RANGE_SMALL, RANGE_WHOLE, RANGE_MANAGED, RANGE_POOL, RANGE_MAPPED,
                  RANGE_RESERVED, RANGE_GRAPH, RANGE_GLOBAL, RANGE_IMPORTED, RANGE_HOST, RANGE_HOST_REGISTERED };

/* One allocation. `charged` is what it takes on the device. */
struct fake_range {
    CUdeviceptr start;
    uint64_t size, charged;
    enum range_kind kind;
    struct fake_context *context;
    int device;
    void *owner;              /* small block, pool, or module it belongs to */
    uint64_t id;
    struct fake_range *next;
};

struct fake_driver {
    pthread_mutex_t lock;
    bool ready;               /* cuInit has succeeded */
    bool forked;              /* a child of a process that had it so */
    bool nothing;             /* do-nothing mode: FAKEGPU_NOTHING=1 */
    int count;
    int index[FAKE_MAX_GPUS]; /* CUDA ordinal to description index */
    struct fake_gpu gpus[FAKE_MAX_GPUS];
    struct fake_context *contexts;
    struct fake_context *primary[FAKE_MAX_GPUS];
    unsigned primary_flags[FAKE_MAX_GPUS];
    uint64_t ids;             /* last id given out */
};

extern struct fake_driver driver;

/* Locks, and checks that cuInit was called. Returns CUDA_SUCCESS with the lock
 * held, or the error with the lock free. */
CUresult driver_enter(void);
/* The same, and asks for a current context, returned in *context. */
CUresult driver_enter_context(struct fake_context **context);
/* To be asked, with the lock held, by every call that must not be made while a stream
 * captures: breaks those captures and returns the error, unless this thread's mode is
 * relaxed. */
CUresult capture_guard(void);

/* A handle that is destroyed, and a look whether one was; the program ends then. */
void grave_add(const void *handle);
void grave_check(const void *handle);
/* Unlocks and hands `result` through. */
CUresult driver_leave(CUresult result);
/* A number never given before in this process. */
uint64_t driver_next_id(void);
/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t driver_now(void);
/* Sleeps until CLOCK_MONOTONIC reads `when`. */
void driver_sleep_until(uint64_t when);
/* The same at a synchronisation, where pools return memory. Takes the lock. */
void driver_synchronized(uint64_t when);

/* Takes and returns device memory in the shared books. `device` is an ordinal. */
bool device_take(int device, uint64_t bytes);
void device_give(int device, uint64_t bytes);
/* What programs may use at most. */
uint64_t device_capacity(int device);

/* The calling thread's current context, or NULL. */
struct fake_context *context_current(void);
/* NULL unless it is a live context. */
struct fake_context *context_checked(CUcontext context);
/* Creates a context that takes device memory; NULL: out of memory. */
struct fake_context *context_make(int device, unsigned flags, unsigned version);
/* Frees the context, all it owns and what it charged. */
void context_end(struct fake_context *context);
/* Pushes a context onto this thread's stack; false when it is full. */
bool context_push(struct fake_context *context);

/* Resolves 0, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD; NULL if unknown. */
struct fake_stream *stream_of(CUstream stream, struct fake_context *context);
/* Adds a stream to a context. */
struct fake_stream *stream_make(struct fake_context *context, unsigned flags, int priority);
/* Gives the stream `duration` ns of the GPU's time. Called with the lock held; may
 * let go of it while the stream's queue is full. */
void stream_work(struct fake_stream *stream, uint64_t duration);
/* Latest end of all streams of a context. */
uint64_t context_tail(const struct fake_context *context);

/* Registers an allocation. */
struct fake_range *range_add(struct fake_range range);
/* The allocation that starts at, or that contains, a pointer; NULL if none. */
struct fake_range *range_at(CUdeviceptr start);
struct fake_range *range_around(CUdeviceptr inside);
/* Returns a RANGE_MANAGED's memory. */
void managed_give(const struct fake_range *range);
/* May cuMemFree and cuMemFreeAsync free it? */
bool range_freeable(const struct fake_range *range);
/* Forgets the allocation, unmaps it and returns its memory. */
void range_end(struct fake_range *range);
/* Ends all allocations of a context. */
void range_end_all(const struct fake_context *context);
/* Address space without memory behind it until touched; 0 on failure. */
CUdeviceptr pages_map(uint64_t size);
void pages_unmap(CUdeviceptr start, uint64_t size);

/* Allocates as cuMemAlloc does: small ones share a chunk, others fill chunks. */
CUresult heap_take(struct fake_context *context, uint64_t size, CUdeviceptr *out);
/* Returns a RANGE_SMALL to its chunk. */
void heap_give(struct fake_range *range);
/* Forgets a context's shared chunks. */
void heap_end(const struct fake_context *context);

/* Rounds up to a multiple. */
static inline uint64_t rounded(uint64_t size, uint64_t unit)
{
    return (size + unit - 1) / unit * unit;
}

#endif
