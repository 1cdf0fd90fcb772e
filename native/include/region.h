/* The usage region: what every process of one container uses of each GPU.
 *
 * One file per container (`/run/vramshare/region`; elsewhere the path in VRAMSHARE_REGION), made by the first
 * process, mapped shared and writable by all of them, read with pread by the node agent. Little-endian, all
 * offsets in bytes, all sizes of memory in bytes, all times in nanoseconds unless said otherwise.
 *
 * Compatibility. `version` changes only if an older reader would misread. Everything else grows inside the
 * strides that the header states: a reader takes offsets, strides and counts from the header, checks them
 * against the file's size, and reads the fields it knows. Bytes that it does not know are zero or another
 * version's business.
 *
 * Concurrency. Every field that changes is one naturally aligned 64-bit (or, where typed so, 32-bit) atomic.
 * There is no lock on the counts. A slot counts while `owner` is not zero and `ready` equals `owner`: taking and reaping a
 * slot are each one compare-and-swap, so a process may be killed between any two instructions.
 *
 * Being alive. While its process lives, it holds an fcntl write lock on the first byte of its slot: that is how
 * processes of other PID namespaces, which cannot see it, know.
 *
 * Reading a total (of GPU g): over all counting slots, used + overhead; pending is on top of it, and must be
 * read before used, since settling adds to used first and takes from pending afterwards.
 */
#ifndef VRAMSHARE_REGION_H
#define VRAMSHARE_REGION_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define VS_REGION_MAGIC UINT64_C(0x314e4f4947455256) /* "VREGION1" read as bytes */
#define VS_REGION_VERSION 1u
#define VS_REGION_GPUS 16u    /* GPUs of one container */
#define VS_REGION_SLOTS 1024u /* processes of one container that use a GPU at one time */
#define VS_OWNER_PID_SHIFT 42 /* owner = pid << 42 | low 42 bits of the start time */

/* One GPU, in a table of `gpu_count` entries at `gpu_offset`. An entry exists once uuid_low is not zero;
 * entries are appended and never removed. */
struct vs_region_gpu {
    _Atomic uint64_t uuid_low;      /*   0: bytes 0..7 of the GPU's UUID, in the order of its text form */
    _Atomic uint64_t uuid_high;     /*   8: bytes 8..15; zero for an instant while an entry is being made */
    _Atomic uint64_t limit;         /*  16: the slice as last read by any process */
    _Atomic uint64_t context_cost;  /*  24: largest driver overhead of one context measured so far */
    _Atomic uint64_t refused;       /*  32: allocations refused at this GPU's wall, since the region was made */
    _Atomic uint64_t refused_bytes; /*  40: size of the latest of them */
    _Atomic uint64_t peak;          /*  48: highest total seen when memory was granted */
    _Atomic uint64_t cores;         /*  56: cap in percent as last read; 0: none */
    /* GPU time of the container as a whole. Zero while nothing is capped. */
    _Atomic uint64_t time_used;     /*  64: GPU time used */
    _Atomic uint64_t time_waited;   /*  72: time that launches were held back */
    _Atomic int64_t time_debt;      /*  80: GPU time owed (positive) or saved up (negative) */
    _Atomic uint64_t time_window;   /*  88: end of the latest window entered, CLOCK_MONOTONIC */
    _Atomic uint64_t time_unit;     /*  96: longest unit of work seen lately */
    _Atomic uint64_t time_wanted;   /* 104: end of the latest window that was too short for what was to be done */
    _Atomic uint64_t time_active;   /* 112: latest launch or wait for one, CLOCK_MONOTONIC, to a few ms */
    _Atomic uint64_t context_hidden; /* 120: what a context takes unseen by process lists, plus one; 0: not known */
    uint64_t reserved[8];           /* 128..191 */
};

/* What one process uses of one GPU, in a table of `gpu_count` entries at `slot_gpu_offset` within a slot. */
struct vs_region_use {
    _Atomic uint64_t used;        /*  0: memory charged to allocations */
    _Atomic uint64_t overhead;    /*  8: the driver's own: contexts, code, heaps, stacks, as measured */
    _Atomic uint64_t pending;     /* 16: asked for and not settled yet */
    _Atomic uint64_t peak;        /* 24: highest used + overhead */
    _Atomic uint64_t refused;     /* 32: allocations of this process refused at the wall */
    _Atomic uint64_t time_used;   /* 40: GPU time used */
    _Atomic uint64_t time_waited; /* 48: time that launches were held back */
    _Atomic int64_t time_debt;    /* 56: GPU time owed (positive) or saved up (negative) */
    _Atomic uint64_t time_unit;   /* 64: longest unit of work of this process lately */
    _Atomic uint64_t launches;    /* 72: units of work that went through the limiter */
    _Atomic uint64_t time_finish; /* 80: when the GPU will have done what was launched, CLOCK_MONOTONIC */
    uint64_t reserved;            /* 88 */
};

/* One process, in a table of `slot_count` entries at `slot_offset`, `slot_stride` apart. */
struct vs_region_slot {
    _Atomic uint64_t owner;    /*   0: identity (VS_OWNER_PID_SHIFT); zero: free */
    _Atomic uint64_t ready;    /*   8: equals owner once the slot may be counted */
    _Atomic uint64_t pidns;    /*  16: inode of the PID namespace in which pid and start time hold */
    _Atomic uint64_t start;    /*  24: start time in clock ticks since boot, field 22 of /proc/PID/stat */
    _Atomic uint32_t pid;      /*  32: process id in its own PID namespace */
    _Atomic uint32_t uid;      /*  36: real user id */
    _Atomic uint64_t attached; /*  40: when the slot was taken, CLOCK_MONOTONIC */
    char command[16];          /*  48: name of the program, cut to 15 bytes and a zero */
    char version[16];          /*  64: version of the interposer in this process, likewise */
    uint64_t reserved[6];      /*  80..127 */
    struct vs_region_use gpu[VS_REGION_GPUS]; /* 128 */
};

/* The header, at offset 0. Written once before the file gets its name, but for the atomics. */
struct vs_region_header {
    uint64_t magic;               /*  0 */
    uint32_t version;             /*  8 */
    uint32_t header_size;         /* 12: bytes before the first slot */
    uint32_t gpu_offset;          /* 16 */
    uint32_t gpu_stride;          /* 20 */
    uint32_t gpu_count;           /* 24 */
    uint32_t slot_offset;         /* 28 */
    uint32_t slot_stride;         /* 32 */
    uint32_t slot_count;          /* 36 */
    uint32_t slot_gpu_offset;     /* 40 */
    uint32_t slot_gpu_stride;     /* 44 */
    uint64_t file_size;           /* 48 */
    uint64_t created;             /* 56: CLOCK_MONOTONIC */
    _Atomic uint32_t slots_high;  /* 64: slots at this index and above were never taken */
    uint32_t pad;                 /* 68 */
    _Atomic uint64_t reaped;      /* 72: slots of dead processes taken back */
    uint32_t share_offset;        /* 80 */
    uint32_t share_stride;        /* 84 */
    uint32_t share_count;         /* 88 */
    uint32_t pad2;                /* 92 */
    _Atomic uint64_t unlent;      /* 96: times that memory in the table of shares was given up by its owner */
    uint64_t reserved[19];        /* 104..255 */
};

/* Memory that a process of this container has handed out to other processes, in a table of `share_count` entries at
 * `share_offset`: whoever opens it knows that it is charged already. An entry counts while its owner's slot does;
 * it is free if `owner` is zero or has no slot any more. `key` is written last. */
struct vs_region_share {
    _Atomic uint64_t owner; /*  0: identity of the process that is charged */
    _Atomic uint64_t key;   /*  8: hash of what identifies the memory on both sides */
    _Atomic uint64_t size;  /* 16 */
    uint64_t reserved;      /* 24 */
};
#define VS_REGION_SHARES 1024u

#define VS_REGION_GPU_OFFSET 256u
#define VS_REGION_HEADER_SIZE 4096u
#define VS_REGION_SLOT_GPU_OFFSET ((uint32_t)offsetof(struct vs_region_slot, gpu))
#define VS_REGION_SHARE_OFFSET (VS_REGION_HEADER_SIZE + VS_REGION_SLOTS * (uint32_t)sizeof(struct vs_region_slot))
#define VS_REGION_FILE_SIZE                                                                                           \
    (VS_REGION_SHARE_OFFSET + (uint64_t)VS_REGION_SHARES * sizeof(struct vs_region_share))

_Static_assert(sizeof(struct vs_region_header) == 256, "the agent reads these offsets");
_Static_assert(sizeof(struct vs_region_gpu) == 192, "the agent reads these offsets");
_Static_assert(sizeof(struct vs_region_use) == 96, "the agent reads these offsets");
_Static_assert(sizeof(struct vs_region_slot) == 1664, "the agent reads these offsets");
_Static_assert(offsetof(struct vs_region_slot, gpu) == 128, "the agent reads these offsets");
_Static_assert(VS_REGION_GPU_OFFSET + VS_REGION_GPUS * sizeof(struct vs_region_gpu) <= VS_REGION_HEADER_SIZE,
               "the GPU table lies inside the header");

#endif
