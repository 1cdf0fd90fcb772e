/* Multicast objects: they name memory of several devices and hold none. */
#define _GNU_SOURCE
#include "driver.h"

struct multicast_properties {
    unsigned devices;
    size_t size;
    unsigned long long handles, flags;
};

API CUresult cuMulticastGetGranularity(size_t *granularity, const void *properties, int option)
{
    (void)properties, (void)option;
    *granularity = CHUNK;
    return CUDA_SUCCESS;
}

API CUresult cuMulticastCreate(CUmemGenericAllocationHandle *out,
                               const struct multicast_properties *properties)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (properties->size == 0 || properties->size % CHUNK != 0)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    *out = driver_next_id() << 8 | 0x9;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMulticastAddDevice(CUmemGenericAllocationHandle multicast, CUdevice device)
{
    (void)multicast;
    return device >= 0 && device < driver.count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

API CUresult cuMulticastBindMem(CUmemGenericAllocationHandle multicast, size_t offset,
                                CUmemGenericAllocationHandle memory, size_t memory_offset,
                                size_t size, unsigned long long flags)
{
    (void)multicast, (void)offset, (void)memory, (void)memory_offset, (void)size, (void)flags;
    return CUDA_SUCCESS;
}

API CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle multicast, size_t offset,
                                 CUdeviceptr start, size_t size, unsigned long long flags)
{
    (void)multicast, (void)offset, (void)start, (void)size, (void)flags;
    return CUDA_SUCCESS;
}

API CUresult cuMulticastUnbind(CUmemGenericAllocationHandle multicast, CUdevice device,
                               size_t offset, size_t size)
{
    (void)multicast, (void)device, (void)offset, (void)size;
    return CUDA_SUCCESS;
}
