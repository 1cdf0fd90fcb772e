/* Memory of other processes and other interfaces. It stays charged to whoever made
 * it; here it is as large as the original, but empty. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What an IPC handle's 64 bytes hold. */
struct ipc_handle { uint64_t mark, pid, size, pointer; char rest[32]; };
struct external_description {
    int type;
    union { int file; struct { void *handle; const void *name; } pair; } handle;
    unsigned long long size;
    unsigned flags, reserved[16];
};
struct buffer_description { unsigned long long offset, size; unsigned flags, reserved[16]; };

static const uint64_t IPC_MARK = 0x4350494b4146ull;

struct fake_external { uint64_t size; };

API CUresult cuIpcGetMemHandle(struct ipc_handle *out, CUdeviceptr start)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_range *range = range_around(start);
    if (!range)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    *out = (struct ipc_handle){.mark = IPC_MARK, .pid = (uint64_t)getpid(), .size = range->size,
                               .pointer = range->start};
    return driver_leave(CUDA_SUCCESS);
}

/* Adds memory that somebody else pays for. */
static CUresult import(uint64_t size, CUdeviceptr *out)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    CUdeviceptr start = pages_map(size);
    if (!start)
        return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
    range_add((struct fake_range){.start = start, .size = size, .kind = RANGE_IMPORTED,
                                  .context = context, .device = context->device});
    *out = start;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *out, struct ipc_handle handle, unsigned flags)
{
    (void)flags;
    if (handle.mark != IPC_MARK || handle.pid == (uint64_t)getpid())
        return CUDA_ERROR_INVALID_VALUE;
    return import(handle.size, out);
}

API CUresult cuIpcOpenMemHandle(CUdeviceptr *out, struct ipc_handle handle, unsigned flags)
{
    return cuIpcOpenMemHandle_v2(out, handle, flags);
}

API CUresult cuIpcCloseMemHandle(CUdeviceptr start)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_range *range = range_at(start);
    if (!range || range->kind != RANGE_IMPORTED)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    range_end(range);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuImportExternalMemory(CUexternalMemory *out, const struct external_description *about)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    *out = malloc(sizeof **out);
    if (*out)
        (*out)->size = about->size;
    return driver_leave(*out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr *out, CUexternalMemory memory,
                                             const struct buffer_description *buffer)
{
    if (!memory || buffer->offset + buffer->size > memory->size)
        return CUDA_ERROR_INVALID_VALUE;
    return import(buffer->size, out);
}

API CUresult cuDestroyExternalMemory(CUexternalMemory memory)
{
    free(memory);
    return CUDA_SUCCESS;
}
