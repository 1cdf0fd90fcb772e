/* The state of this process: limits, region, slot, books. One structure in memory that fork wipes, so that a
 * forked child starts with free locks, empty books and no slot, whatever other threads were doing. */
#ifndef VRAMSHARE_STATE_H
#define VRAMSHARE_STATE_H

#include "account.h"
#include "base.h"
#include "books.h"
#include "limits.h"

/* What a GPU index stands for besides 0..VS_REGION_GPUS-1. */
enum { VS_NO_CONTEXT = -1, VS_UNKNOWN_GPU = -2 };

enum vs_mode { VS_UNSET, VS_OFF, VS_ON };

#define VS_DEVICES 64 /* CUDA device ordinals of one process */
#define VS_CONTEXTS 64
#define VS_LENDERS 16 /* processes from which one borrows memory; of more, memory is charged as if imported */

struct vs_process {
    _Atomic int mode;      /* enum vs_mode */
    _Atomic int slot;      /* own slot + 1; 0: none yet */
    vs_lock_t start_lock;  /* attaching: mode, region, slot */
    vs_lock_t books_lock;  /* books */
    vs_lock_t limits_lock; /* limits, GPUs */
    vs_lock_t measure_lock; /* one measurement of the driver's overhead at a time */
    vs_lock_t primary_lock; /* one retain at a time that may make a primary context */
    vs_lock_t pools_lock;   /* no pool ends while it is asked or trimmed; books_lock may be taken inside */
    struct vs_view view;
    _Atomic uint64_t ticked; /* when the limits were last looked at, ns */
    _Atomic uint64_t reaped; /* when dead processes were last looked for, ns */
    struct vs_limits limits;
    bool from_file;          /* limits come from the allocation file, not from the environment */
    char stated[32];         /* VRAMSHARE_MEMORY, where there is no file; a percentage needs the GPU's size */
    unsigned stated_cores;
    uint64_t file_mark[4];   /* what the file looked like when it was read */
    _Atomic uint64_t limit[VS_REGION_GPUS];
    _Atomic unsigned cores[VS_REGION_GPUS]; /* cap on GPU time in percent; 0: none */
    uint8_t uuid[VS_REGION_GPUS][16];
    uint64_t whole[VS_REGION_GPUS];         /* the GPU's size; 0: not known yet */
    _Atomic uint8_t known[VS_REGION_GPUS];  /* GPU indices that this process has looked up */
    _Atomic uint8_t warned[VS_REGION_GPUS]; /* a refusal was reported */
    _Atomic int device_gpu[VS_DEVICES];     /* by ordinal: GPU index + 1 */
    _Atomic int gpu_device[VS_REGION_GPUS]; /* by GPU index: ordinal + 1 */
    struct { _Atomic uint64_t context; _Atomic int gpu; } contexts[VS_CONTEXTS];
    struct vs_books books;
    _Atomic uint64_t hidden[VS_REGION_GPUS], hidden_each[VS_REGION_GPUS]; /* of all contexts, of the last: measure.c */
    struct { _Atomic uint64_t owner; _Atomic int slot; } lenders[VS_LENDERS]; /* whose memory is borrowed; 0: free */
    _Atomic int borrows;                       /* a lender stands there */
    _Atomic uint64_t unlent;                   /* the region's count when lenders were last looked at */
    _Atomic uint64_t promised[VS_REGION_GPUS]; /* charged for heaps and stacks that the driver has yet to take */
    _Atomic uint64_t primary[VS_REGION_GPUS];    /* the primary context, while it is active */
    struct { _Atomic uint64_t context, bytes; } local[VS_CONTEXTS]; /* largest local memory of a thread launched in each */
    _Atomic int dirty[VS_REGION_GPUS];           /* code was loaded or launched for the first time since measuring */
    _Atomic uint64_t measured[VS_REGION_GPUS];   /* when the overhead was last measured, ns */
    bool listed[VS_REGION_GPUS];                 /* NVML's process list has named us */
    _Atomic uint64_t pidns;                      /* 0: not asked yet, 1: not known */
    struct { _Atomic uint64_t device; _Atomic int gpu; } nvml_devices[VS_REGION_GPUS];
    _Atomic int pools_stale;     /* memory was freed to a pool: it may be smaller after the next wait */
    struct vs_gates *_Atomic gates; /* of the limiter of GPU time; NULL: nobody has launched anything yet */
    void *nvml[VS_REGION_GPUS];
    int nvml_state; /* 0: not tried, 1: usable, 2: not there */
};

/* True in the later of two interposers in one process: it passes everything through. */
bool vs_passive(void);

/* By this name interposers of different versions find each other: the first that was loaded is active. */
extern const int vramshare_guard;

/* Set while the driver runs on behalf of a hook: what it calls itself is not counted again. */
extern _Thread_local __attribute__((tls_model("initial-exec"))) int vs_nested;

extern struct vs_process *_Atomic vs_process_now;

/* Slow half of vs_on: makes the state, reads the limits, opens the region. NULL: no limits here. */
struct vs_process *vs_attach(void);

/* Set where the kernel does not wipe the state on fork: every call then asks whether this is still the process. */
extern bool vs_unwiped;

/* The process's state if limits apply to this call; NULL: pass through. */
static inline struct vs_process *vs_on(void)
{
    struct vs_process *process = atomic_load_explicit(&vs_process_now, memory_order_acquire);
    if (VS_LIKELY(process && !vs_unwiped && atomic_load_explicit(&process->mode, memory_order_acquire) == VS_ON))
        return VS_UNLIKELY(vs_nested) ? NULL : process;
    return vs_nested ? NULL : vs_attach();
}

/* This process's slot, taken on first use. -1: all slots are taken. */
int vs_own_slot(struct vs_process *process);

/* This process's PID namespace; 0: /proc is not there. */
uint64_t vs_own_pidns(struct vs_process *process);

/* Takes back the slots of processes that are dead; how many. */
int vs_reap(struct vs_process *process);

/* The same before figures are shown; not every time where there are many slots. */
void vs_reap_sometimes(struct vs_process *process);

/* Looks at the limits again. `now`: at once instead of a few times a second. */
void vs_refresh_limits(struct vs_process *process, bool now);

/* The GPU index of a UUID, VS_UNKNOWN_GPU if the region has no room. */
int vs_gpu_of_uuid(struct vs_process *process, const uint8_t uuid[16]);

/* The slice of a GPU in bytes. */
static inline uint64_t vs_limit_of(struct vs_process *process, int gpu)
{
    return gpu < 0 ? 0 : atomic_load_explicit(&process->limit[gpu], memory_order_relaxed);
}

/* Tells a GPU's size, so that a limit in percent has a meaning. */
void vs_set_whole(struct vs_process *process, int gpu, uint64_t bytes);

/* Memory straight from the kernel; `own`: a forked child does not inherit it. */
extern const struct vs_memory vs_pages;
extern const struct vs_memory vs_own_pages;

/* Nanoseconds of CLOCK_MONOTONIC; `coarse`: a few milliseconds old, and cheap. */
uint64_t vs_now(bool coarse);

#endif
