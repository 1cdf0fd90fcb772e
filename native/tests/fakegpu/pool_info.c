/* Making, choosing, asking and sharing pools. */
#define _GNU_SOURCE
#include "pool.h"
#include "pool_types.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct location { int type, id; };
struct pool_properties {
    int type, handles;
    struct location location;
    void *security;
    size_t max_size;
    unsigned char rest[56];
};

enum { ON_DEVICE = 1, ON_HOST = 2, ON_PART_OF_DEVICE = 6 /* its number is the lowest byte */ };
enum { PINNED = 1, MANAGED = 2 };

/* The device of a place; -1: none. Managed memory may be wanted anywhere and is on the first. */
static int device_at(const struct location *location, int type)
{
    int device = location->type == ON_PART_OF_DEVICE ? location->id & 0xff : location->id;
    if (location->type != ON_DEVICE && location->type != ON_PART_OF_DEVICE)
        device = type == MANAGED ? 0 : -1;
    return device < driver.count ? device : -1;
}

/* Locks and finds the pool; with CUDA_SUCCESS the lock is held. */
static CUresult enter_pool(CUmemoryPool handle, struct fake_pool **pool)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if ((result = capture_guard()) != CUDA_SUCCESS)
        return driver_leave(result);
    *pool = pool_checked(handle);
    return *pool ? CUDA_SUCCESS : driver_leave(CUDA_ERROR_INVALID_VALUE);
}

API CUresult cuMemPoolCreate(CUmemoryPool *out, const struct pool_properties *properties)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    int device = device_at(&properties->location, properties->type);
    if (device < 0)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    *out = pool_make(device, properties->max_size);
    return driver_leave(*out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuMemPoolDestroy(CUmemoryPool handle)
{
    struct fake_pool *pool;
    CUresult result = enter_pool(handle, &pool);
    if (result != CUDA_SUCCESS)
        return result;
    if (pool == pool_standard(pool->device))
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    pool_end(pool);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep)
{
    struct fake_pool *pool;
    CUresult result = enter_pool(handle, &pool);
    if (result == CUDA_SUCCESS) {
        pool_trim(pool, keep);
        driver_leave(result);
    }
    return result;
}

enum attribute { REUSE_FIRST = 1, REUSE_LAST = 3, THRESHOLD, RESERVED, RESERVED_HIGH, USED,
                 USED_HIGH };

API CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void *value)
{
    struct fake_pool *pool;
    CUresult result = enter_pool(handle, &pool);
    if (result != CUDA_SUCCESS)
        return result;
    switch (attribute) {
    case THRESHOLD: *(uint64_t *)value = pool->threshold; break;
    case RESERVED: *(uint64_t *)value = pool->reserved; break;
    case RESERVED_HIGH: *(uint64_t *)value = pool->reserved_high; break;
    case USED: *(uint64_t *)value = pool->used; break;
    case USED_HIGH: *(uint64_t *)value = pool->used_high; break;
    default:
        if (attribute < REUSE_FIRST || attribute > REUSE_LAST)
            return driver_leave(CUDA_ERROR_INVALID_VALUE);
        *(unsigned *)value = pool->reuse[attribute];
    }
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void *value)
{
    struct fake_pool *pool;
    CUresult result = enter_pool(handle, &pool);
    if (result != CUDA_SUCCESS)
        return result;
    switch (attribute) {
    case THRESHOLD: pool->threshold = *(uint64_t *)value; break;
    case RESERVED_HIGH: pool->reserved_high = pool->reserved; break;
    case USED_HIGH: pool->used_high = pool->used; break;
    default:
        if (attribute < REUSE_FIRST || attribute > REUSE_LAST)
            return driver_leave(CUDA_ERROR_INVALID_VALUE);
        pool->reuse[attribute] = *(unsigned *)value;
    }
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemPoolSetAccess(CUmemoryPool pool, const void *map, size_t count)
{
    (void)pool, (void)map, (void)count;
    return CUDA_SUCCESS;
}

API CUresult cuMemPoolGetAccess(int *flags, CUmemoryPool pool, struct location *location)
{
    (void)pool, (void)location;
    *flags = 3; /* read and write */
    return CUDA_SUCCESS;
}

/* Locks and checks the ordinal; with CUDA_SUCCESS the lock is held. */
static CUresult enter_device(CUdevice device)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS || (device >= 0 && device < driver.count))
        return result;
    return driver_leave(CUDA_ERROR_INVALID_DEVICE);
}

API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *out, CUdevice device)
{
    CUresult result = enter_device(device);
    if (result != CUDA_SUCCESS)
        return result;
    *out = pool_standard(device);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDeviceGetMemPool(CUmemoryPool *out, CUdevice device)
{
    CUresult result = enter_device(device);
    if (result != CUDA_SUCCESS)
        return result;
    *out = pool_current(device);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool handle)
{
    CUresult result = enter_device(device);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_pool *pool = pool_checked(handle);
    if (pool)
        pool_choose(device, pool);
    return driver_leave(pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

/* The pool of pinned host memory. */
static CUresult host_pool(CUmemoryPool *out)
{
    static struct fake_pool *made;
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!made && (made = pool_make(0, 0)))
        made->host = true;
    *out = made;
    return driver_leave(made ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuMemGetDefaultMemPool(CUmemoryPool *out, struct location *location, int type)
{
    if (location->type == ON_HOST && type == PINNED)
        return host_pool(out);
    return location->type == ON_DEVICE ? cuDeviceGetDefaultMemPool(out, location->id)
                                       : CUDA_ERROR_NOT_SUPPORTED;
}

API CUresult cuMemGetMemPool(CUmemoryPool *out, struct location *location, int type)
{
    (void)type;
    return location->type == ON_DEVICE ? cuDeviceGetMemPool(out, location->id)
                                       : CUDA_ERROR_NOT_SUPPORTED;
}

API CUresult cuMemSetMemPool(struct location *location, int type, CUmemoryPool pool)
{
    (void)type;
    return location->type == ON_DEVICE ? cuDeviceSetMemPool(location->id, pool)
                                       : CUDA_ERROR_NOT_SUPPORTED;
}

/* A pool is shared as a descriptor, of which only the ordinal is written. */
API CUresult cuMemPoolExportToShareableHandle(void *out, CUmemoryPool handle, int type,
                                              unsigned long long flags)
{
    struct fake_pool *pool;
    (void)type, (void)flags;
    CUresult result = enter_pool(handle, &pool);
    if (result != CUDA_SUCCESS)
        return result;
    int fd = memfd_create("fakegpu-pool", MFD_CLOEXEC);
    if (fd >= 0 && pwrite(fd, &pool->device, sizeof pool->device, 0) > 0)
        *(int *)out = fd;
    return driver_leave(fd >= 0 ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM);
}

API CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool *out, void *handle, int type,
                                                unsigned long long flags)
{
    int device;
    (void)type, (void)flags;
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (pread((int)(intptr_t)handle, &device, sizeof device, 0) != sizeof device)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    *out = pool_make(device, 0);
    if (*out)
        (*out)->imported = true;
    return driver_leave(*out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuMemPoolExportPointer(void *out, CUdeviceptr pointer)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_range *range = range_at(pointer);
    memset(out, 0, 64);
    if (range)
        memcpy(out, &range->size, sizeof range->size);
    return driver_leave(range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

/* The memory stays the exporter's: nothing is charged here. */
API CUresult cuMemPoolImportPointer(CUdeviceptr *out, CUmemoryPool handle, const void *data)
{
    struct fake_pool *pool;
    uint64_t size;
    CUresult result = enter_pool(handle, &pool);
    if (result != CUDA_SUCCESS)
        return result;
    memcpy(&size, data, sizeof size);
    *out = pages_map(size);
    range_add((struct fake_range){.start = *out, .size = size, .kind = RANGE_IMPORTED,
                                  .context = context_current(), .device = pool->device});
    return driver_leave(CUDA_SUCCESS);
}
