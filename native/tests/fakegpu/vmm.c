/* Virtual memory management: handles hold device memory, reserved addresses show
 * it. The memory returns when its handle is released and nothing maps it. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct location { int type, id; };
struct allocation_properties {
    int type, handles;
    struct location location;
    void *metadata;
    unsigned char flags[8];
};
enum { ON_DEVICE = 1, ON_PART_OF_DEVICE = 6 /* its number is the lowest byte */ };

/* Physical memory, behind a descriptor so that it can be mapped and shared. */
struct physical {
    uint64_t id;
    struct allocation_properties properties;
    uint64_t size, charged;
    int file, device;
    unsigned references, maps;
    struct physical *next;
};

static struct physical *all;

static struct physical *physical_of(CUmemGenericAllocationHandle handle)
{
    for (struct physical *physical = all; physical; physical = physical->next)
        if (physical->id == handle && physical->references > 0)
            return physical;
    return NULL;
}

static void end_if_unused(struct physical *physical)
{
    if (physical->references > 0 || physical->maps > 0)
        return;
    struct physical **link = &all;
    while (*link != physical)
        link = &(*link)->next;
    *link = physical->next;
    device_give(physical->device, physical->charged);
    close(physical->file);
    free(physical);
}

static struct physical *physical_add(struct physical fresh)
{
    struct physical *physical = malloc(sizeof *physical);
    if (!physical)
        return NULL;
    *physical = fresh;
    physical->id = driver_next_id() << 8 | 0x7;
    physical->references = 1;
    physical->next = all;
    all = physical;
    return physical;
}

API CUresult cuMemGetAllocationGranularity(size_t *granularity, const void *properties, int option)
{
    (void)properties, (void)option;
    *granularity = CHUNK;
    return CUDA_SUCCESS;
}

API CUresult cuMemCreate(CUmemGenericAllocationHandle *out, size_t size,
                         const struct allocation_properties *properties, unsigned long long flags)
{
    CUresult result = flags ? CUDA_ERROR_INVALID_VALUE : driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    bool part = properties->location.type == ON_PART_OF_DEVICE;
    bool on_device = part || properties->location.type == ON_DEVICE;
    int device = !on_device ? 0 : part ? properties->location.id & 0xff : properties->location.id;
    if (size == 0 || size % CHUNK != 0 || device < 0 || device >= driver.count)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    uint64_t charged = on_device ? size : 0;
    if (!device_take(device, charged))
        return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
    int file = memfd_create("fakegpu", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)size) != 0) {
        device_give(device, charged);
        return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
    }
    struct physical *physical = physical_add((struct physical){
        .properties = *properties, .size = size, .charged = charged, .file = file,
        .device = device});
    *out = physical->id;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct physical *physical = physical_of(handle);
    if (!physical)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    physical->references--;
    end_if_unused(physical);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemAddressReserve(CUdeviceptr *out, size_t size, size_t alignment, CUdeviceptr wish,
                                 unsigned long long flags)
{
    (void)alignment, (void)wish, (void)flags;
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (size == 0 || size % CHUNK != 0)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    *out = pages_map(size);
    if (*out == 0)
        return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
    mprotect((void *)(uintptr_t)*out, size, PROT_NONE);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemAddressFree(CUdeviceptr start, size_t size)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    pages_unmap(start, size);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemMap(CUdeviceptr start, size_t size, size_t offset,
                      CUmemGenericAllocationHandle handle, unsigned long long flags)
{
    (void)flags;
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct physical *physical = physical_of(handle);
    if (!physical || offset + size > physical->size || range_at(start))
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    void *at = mmap((void *)(uintptr_t)start, size, PROT_NONE, MAP_SHARED | MAP_FIXED,
                    physical->file, (off_t)offset);
    if (at == MAP_FAILED)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    physical->maps++;
    range_add((struct fake_range){.start = start, .size = size, .kind = RANGE_MAPPED,
                                  .device = physical->device, .owner = physical});
    return driver_leave(CUDA_SUCCESS);
}

/* Unmaps whole mappings inside the span. */
API CUresult cuMemUnmap(CUdeviceptr start, size_t size)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    for (CUdeviceptr at = start; at < start + size;) {
        struct fake_range *range = range_at(at);
        if (!range || range->kind != RANGE_MAPPED)
            return driver_leave(CUDA_ERROR_INVALID_VALUE);
        struct physical *physical = range->owner;
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
        mmap((void *)(uintptr_t)at, range->size, PROT_NONE, flags, -1, 0);
        at += range->size;
        range_end(range);
        physical->maps--;
        end_if_unused(physical);
    }
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemSetAccess(CUdeviceptr start, size_t size, const void *access, size_t count)
{
    (void)access, (void)count;
    int failed = mprotect((void *)(uintptr_t)start, size, PROT_READ | PROT_WRITE);
    return failed ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

API CUresult cuMemGetAccess(unsigned long long *flags, const void *location, CUdeviceptr start)
{
    (void)location, (void)start;
    *flags = 3; /* read and write */
    return CUDA_SUCCESS;
}

API CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *out, void *address)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_range *range = range_around((CUdeviceptr)(uintptr_t)address);
    if (!range || range->kind != RANGE_MAPPED)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    struct physical *physical = range->owner;
    physical->references++;
    *out = physical->id;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemGetAllocationPropertiesFromHandle(struct allocation_properties *out,
                                                    CUmemGenericAllocationHandle handle)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct physical *physical = physical_of(handle);
    if (physical)
        *out = physical->properties;
    return driver_leave(physical ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

API CUresult cuMemExportToShareableHandle(void *out, CUmemGenericAllocationHandle handle, int type,
                                          unsigned long long flags)
{
    (void)type, (void)flags;
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct physical *physical = physical_of(handle);
    if (!physical)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    *(int *)out = dup(physical->file);
    return driver_leave(CUDA_SUCCESS);
}

/* The exporter goes on paying; the importer shares the contents. */
API CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *out, void *handle,
                                            int type)
{
    struct stat about;
    (void)type;
    int file = dup((int)(intptr_t)handle);
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (file < 0 || fstat(file, &about) != 0)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    struct physical *physical = physical_add((struct physical){
        .properties = {.type = 1, .handles = 1, .location = {ON_DEVICE, 0}},
        .size = (uint64_t)about.st_size, .file = file});
    *out = physical->id;
    return driver_leave(CUDA_SUCCESS);
}
