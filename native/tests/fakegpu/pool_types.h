/* A memory pool and what its files do with it. */
#ifndef FAKEGPU_POOL_TYPES_H
#define FAKEGPU_POOL_TYPES_H

#include "driver.h"

struct fake_pool {
    int device;
    bool imported;
    bool host;                 /* its memory is the host's */
    uint64_t max_size;         /* 0: no limit of its own */
    uint64_t reserved, used, reserved_high, used_high;
    uint64_t threshold;        /* bytes kept through a synchronisation */
    unsigned reuse[4];         /* the three reuse attributes, by number */
    struct fake_pool *next;
};

struct fake_pool *pool_make(int device, uint64_t max_size);
void pool_end(struct fake_pool *pool);
/* NULL unless it is a live pool. */
struct fake_pool *pool_checked(CUmemoryPool handle);
struct fake_pool *pool_standard(int device);
struct fake_pool *pool_current(int device);
void pool_choose(int device, struct fake_pool *pool);
/* Returns unused memory, keeping at least `keep` bytes. */
void pool_trim(struct fake_pool *pool, uint64_t keep);
CUresult pool_take(struct fake_pool *pool, uint64_t size, struct fake_context *context,
                   CUdeviceptr *out);

#endif
