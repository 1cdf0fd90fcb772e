/* What this process holds, and how much device memory each thing takes. Pure: tables in, bytes out; the caller
 * holds the lock, keeps the region and talks to the driver.
 *
 * The driver takes memory in pages of 2 MiB and packs small allocations into them. So a block is charged for the
 * pages that it is the first to touch: whole pages are its own, the part pages at its ends are shared with its
 * neighbours and counted once. Arrays have no address: small ones of a GPU are taken to be packed together, as
 * many of one size as fit on a page; larger ones have pages of their own. */
#ifndef VRAMSHARE_BOOKS_H
#define VRAMSHARE_BOOKS_H

#include "../include/region.h"
#include "base.h"
#include "map.h"

enum vs_kind {
    VS_LINEAR, /* cuMemAlloc and its like */
    VS_MANAGED, /* charged in full from the start */
    VS_IMPORTED, /* of another process, charged here */
    VS_BORROWED, /* of another process of this container, charged there */
    VS_PACKED,   /* an array */
    VS_EXTERNAL, /* of another API */
    VS_PROMISED, /* globals or heaps that the driver has yet to place: promise.c charges them */
    VS_GRAPH,    /* an executable graph that allocates: its size is what a launch may take */
};

#define VS_LENT (UINT64_C(1) << 16) /* in an allocation's word c, beside GPU and kind: it was handed to another process */
#define VS_POOLS 128
#define VS_NO_POOL 0xffu

struct vs_block {
    uint64_t size;    /* as asked for */
    uint64_t context; /* lives and dies with it; 0: with none. Of a borrowed block: who is charged */
    unsigned gpu, kind;
    unsigned opened; /* times that an imported or borrowed block was opened */
};

struct vs_pool {
    uint64_t handle;   /* 0: free entry */
    int gpu;           /* -1: host memory, not counted */
    uint64_t reserved; /* what the driver held for it when last asked; this much is charged */
};

struct vs_books {
    struct vs_map blocks;      /* device address -> block */
    struct vs_map pages;       /* page number -> blocks that touch a part of it */
    struct vs_map objects;     /* driver handle -> block */
    struct vs_map handles;     /* physical memory: driver handle -> allocation, references */
    struct vs_map allocations; /* allocation -> size, references and mappings, GPU and kind */
    struct vs_map mappings;    /* device address -> size, allocation */
    uint64_t next_allocation;
    bool lends; /* some allocation was VS_LENT */
    uint64_t packed[VS_REGION_GPUS];  /* parts of pages that small arrays take */
    uint64_t managed[VS_REGION_GPUS]; /* charged, but perhaps not in the driver's per-process figure */
    uint64_t borrowed[VS_REGION_GPUS]; /* of others in this container, open here, charged there */
    uint64_t graphs[VS_REGION_GPUS];  /* graph memory held by the driver when last asked; charged */
    int managed_pools; /* not 0: there is a pool of managed memory, which may be charged and not in the driver's figure */
    struct vs_pool pools[VS_POOLS];
};

/* Records a block at a device address; the bytes that it newly takes. `recorded` false: there was no memory to
 * remember it, and it stays charged for good. Borrowed blocks take nothing. */
uint64_t vs_books_add(struct vs_books *books, const struct vs_memory *memory, uint64_t address,
                      const struct vs_block *block, bool *recorded);

/* Forgets the block at an address. False: there is none. `freed`: the bytes that are no longer taken. */
bool vs_books_take(struct vs_books *books, uint64_t address, struct vs_block *block, uint64_t *freed);

/* What a managed block of this size would newly take. */
uint64_t vs_books_managed(const struct vs_books *books, unsigned gpu, uint64_t size);

/* The same for things named by a driver handle. */
uint64_t vs_books_add_object(struct vs_books *books, const struct vs_memory *memory, uint64_t handle,
                             const struct vs_block *block, bool *recorded);
bool vs_books_take_object(struct vs_books *books, uint64_t handle, struct vs_block *block, uint64_t *freed);

/* Reads a block of either table without changing anything. */
bool vs_books_find(const struct vs_books *books, uint64_t address, struct vs_block *block);
bool vs_books_find_object(const struct vs_books *books, uint64_t handle, struct vs_block *block);

/* Forgets everything that dies with a context; adds what each GPU gets back to `freed`. */
void vs_books_drop_context(struct vs_books *books, uint64_t context, uint64_t freed[VS_REGION_GPUS]);

/* What is promised on a GPU in all, if the driver has taken none of it yet. */
uint64_t vs_books_promised(const struct vs_books *books, unsigned gpu);

/* What an array of this size would newly take. */
uint64_t vs_books_packing(const struct vs_books *books, unsigned gpu, uint64_t size);

/* Physical memory: made with one reference. False: not recorded, charged for good. */
bool vs_books_physical(struct vs_books *books, const struct vs_memory *memory, uint64_t handle, uint64_t size,
                       unsigned gpu, unsigned kind);

/* One more handle or reference to the memory mapped at an address. */
void vs_books_retain(struct vs_books *books, const struct vs_memory *memory, uint64_t handle, uint64_t address);

/* Memory of another process has no known size until it is mapped: whether a handle is of that sort and where; and
 * saying its size, once (false: it is known). */
bool vs_books_is_unsized(const struct vs_books *books, uint64_t handle, unsigned *gpu);
bool vs_books_size(struct vs_books *books, uint64_t handle, uint64_t size, unsigned kind);

/* Turns borrowed memory whose lender is gone into memory that is charged here; adds what each GPU is to be charged to
 * `owed`. The two questions are asked about blocks (by lender) and about physical memory (by GPU and size). */
struct vs_lenders {
    bool (*lives)(void *context, uint64_t lender);
    bool (*lent)(void *context, unsigned gpu, uint64_t size);
    void *context;
};
void vs_books_adopt(struct vs_books *books, const struct vs_memory *memory, const struct vs_lenders *lenders,
                    uint64_t owed[VS_REGION_GPUS]);

/* The size and GPU behind a handle. False: not known. */
bool vs_books_physical_size(const struct vs_books *books, uint64_t handle, uint64_t *size, unsigned *gpu);

/* Notes that the memory behind a handle was handed to another process. */
void vs_books_lend(struct vs_books *books, uint64_t handle);

/* One more reference, if the handle is known: the driver may answer an import with a handle that is there. */
bool vs_books_physical_again(struct vs_books *books, uint64_t handle);

/* Maps a handle, known or not. */
void vs_books_map(struct vs_books *books, const struct vs_memory *memory, uint64_t address, uint64_t size,
                  uint64_t handle);

/* One reference, or all mappings of a range, less. Adds what each GPU gets back to `freed`: memory is given back
 * when neither handle nor mapping leads to it. */
void vs_books_unref(struct vs_books *books, uint64_t handle, uint64_t freed[VS_REGION_GPUS]);
void vs_books_unmap(struct vs_books *books, uint64_t address, uint64_t size, uint64_t freed[VS_REGION_GPUS]);

/* The entry of a pool; VS_NO_POOL: not known. */
unsigned vs_books_pool(const struct vs_books *books, uint64_t handle);

/* Adds a pool. VS_NO_POOL: no room. */
unsigned vs_books_add_pool(struct vs_books *books, uint64_t handle, int gpu);

#endif
