/* cuDevice*: what there is and what it can do. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdio.h>
#include <string.h>

/* The GPU of an ordinal; NULL if there is none. Needs no lock after cuInit. */
static const struct fake_gpu *gpu_of(CUdevice device)
{
    if (!driver.ready || device < 0 || device >= driver.count)
        return NULL;
    return &driver.gpus[driver.index[device]];
}

/* The error for a call on `device`, or success. */
static CUresult check(CUdevice device)
{
    if (!driver.ready || driver.forked)
        return CUDA_ERROR_NOT_INITIALIZED;
    return gpu_of(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

API CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    CUresult result = check(ordinal);
    if (result == CUDA_SUCCESS)
        *device = ordinal;
    return result;
}

API CUresult cuDeviceGetCount(int *count)
{
    if (!driver.ready || driver.forked)
        return CUDA_ERROR_NOT_INITIALIZED;
    *count = driver.count;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetName(char *name, int room, CUdevice device)
{
    CUresult result = check(device);
    if (result == CUDA_SUCCESS && room > 0)
        snprintf(name, (size_t)room, "%s", gpu_of(device)->model);
    return result;
}

API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
    CUresult result = check(device);
    if (result == CUDA_SUCCESS)
        fake_uuid_bytes(gpu_of(device)->uuid, (unsigned char *)uuid->bytes);
    return result;
}

API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    return cuDeviceGetUuid_v2(uuid, device);
}

API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    CUresult result = check(device);
    if (result == CUDA_SUCCESS)
        *bytes = device_capacity(device);
    return result;
}

API CUresult cuDeviceGetPCIBusId(char *id, int room, CUdevice device)
{
    CUresult result = check(device);
    if (result == CUDA_SUCCESS && room > 0)
        snprintf(id, (size_t)room, "%s", gpu_of(device)->pci);
    return result;
}

API CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *id)
{
    if (!driver.ready || driver.forked)
        return CUDA_ERROR_NOT_INITIALIZED;
    for (int i = 0; i < driver.count; i++)
        if (strcasecmp(gpu_of(i)->pci, id) == 0) {
            *device = i;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    CUresult result = check(device);
    if (result == CUDA_SUCCESS) {
        *major = gpu_of(device)->major;
        *minor = gpu_of(device)->minor;
    }
    return result;
}

/* Attributes that are the same for every simulated GPU: number, value. What is
 * not listed reads 0. */
static const struct { int number, value; } attributes[] = {
    {1, 1024},        /* threads a block */
    {2, 1024}, {3, 1024}, {4, 64},
    {5, 2147483647}, {6, 65535}, {7, 65535},
    {8, 49152},       /* shared memory a block */
    {9, 65536}, {10, 32}, {11, 2147483647},
    {12, 65536},      /* registers a block */
    {13, 1410000},    /* kHz */
    {14, 512}, {15, 1}, {19, 1},
    {21, 131072}, {22, 131072}, {23, 65536}, {24, 16384}, {25, 16384}, {26, 16384},
    {30, 512}, {31, 1}, {36, 5001000}, {37, 256}, {38, 4194304},
    {39, 1536}, {40, 2}, {41, 1}, {51, 32},
    {78, 1}, {79, 1}, {80, 1}, {81, 102400}, {82, 65536},
    {83, 1},          /* managed memory */
    {89, 1}, {90, 1}, {91, 1}, {92, 1}, {93, 1}, {94, 1}, {95, 1}, {97, 101376}, {99, 1},
    {102, 1},         /* virtual memory management */
    {103, 1}, {106, 16}, {113, 1}, {114, 1},
    {115, 1},         /* memory pools */
    {119, 1}, {121, 1}, {122, 1}, {123, 1}, {125, 1}, {132, 1},
};

static int attribute_value(const struct fake_gpu *gpu, int number)
{
    unsigned domain = 0, bus = 0, slot = 0;
    sscanf(gpu->pci, "%x:%x:%x", &domain, &bus, &slot);
    switch (number) {
    case 16: return gpu->multiprocessors;
    case 33: return (int)bus;
    case 34: return (int)slot;
    case 50: return (int)domain;
    case 75: return gpu->major;
    case 76: return gpu->minor;
    default: break;
    }
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        if (attributes[i].number == number)
            return attributes[i].value;
    return 0;
}

API CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    CUresult result = check(device);
    if (result == CUDA_SUCCESS)
        *value = attribute_value(gpu_of(device), attribute);
    return result;
}

API CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    CUresult result = check(device) != CUDA_SUCCESS ? check(device) : check(peer);
    if (result == CUDA_SUCCESS)
        *can = 0;
    return result;
}
