/* Facts about one GPU as NVML tells them. */
#define _GNU_SOURCE
#include "nvml.h"

#include <stdio.h>
#include <string.h>

/* Begins a call that has a device: returns its error, or goes on. */
#define CHECK(device)                                                                              \
    do {                                                                                           \
        enum nvml_result checked = nvml_check(device);                                             \
        if (checked != NVML_SUCCESS)                                                               \
            return checked;                                                                        \
    } while (0)

struct memory_v1 { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
struct pci_info {
    char legacy_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char id[32];
};
struct utilization { unsigned gpu, memory; };

static enum nvml_result give_text(char *out, unsigned room, const char *text)
{
    if (!out || strlen(text) >= room)
        return out ? NVML_INSUFFICIENT_SIZE : NVML_INVALID_ARGUMENT;
    strcpy(out, text);
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetName(nvml_device_t device, char *out, unsigned room)
{
    CHECK(device);
    return give_text(out, room, device->gpu.model);
}

API enum nvml_result nvmlDeviceGetUUID(nvml_device_t device, char *out, unsigned room)
{
    CHECK(device);
    return give_text(out, room, device->gpu.uuid);
}

API enum nvml_result nvmlDeviceGetSerial(nvml_device_t device, char *out, unsigned room)
{
    CHECK(device);
    return give_text(out, room, "0");
}

API enum nvml_result nvmlDeviceGetIndex(nvml_device_t device, unsigned *index)
{
    CHECK(device);
    *index = (unsigned)device->index;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetMinorNumber(nvml_device_t device, unsigned *number)
{
    CHECK(device);
    *number = (unsigned)device->gpu.minor_number;
    return NVML_SUCCESS;
}

/* Version 1 counts the driver's reserve as used, version 2 tells it apart. */
API enum nvml_result nvmlDeviceGetMemoryInfo(nvml_device_t device, struct memory_v1 *memory)
{
    CHECK(device);
    uint64_t used = books_used(device->index) + device->gpu.reserve;
    memory->total = device->gpu.memory;
    memory->used = used;
    memory->free = used < memory->total ? memory->total - used : 0;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetMemoryInfo_v2(nvml_device_t device, struct memory_v2 *memory)
{
    CHECK(device);
    if (memory->version != (sizeof *memory | 2u << 24))
        return NVML_VERSION_MISMATCH;
    uint64_t used = books_used(device->index), gone = used + device->gpu.reserve;
    memory->total = device->gpu.memory;
    memory->reserved = device->gpu.reserve;
    memory->used = used;
    memory->free = gone < memory->total ? memory->total - gone : 0;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetPciInfo_v3(nvml_device_t device, struct pci_info *pci)
{
    CHECK(device);
    memset(pci, 0, sizeof *pci);
    sscanf(device->gpu.pci, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    pci->device_id = 0x1eb810deu;
    snprintf(pci->legacy_id, sizeof pci->legacy_id, "%04X:%02X:%02X.0", pci->domain & 0xffff,
             pci->bus & 0xff, pci->device & 0xff);
    snprintf(pci->id, sizeof pci->id, "%08X:%02X:%02X.0", pci->domain, pci->bus, pci->device);
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetPciInfo_v2(nvml_device_t device, struct pci_info *pci)
{
    return nvmlDeviceGetPciInfo_v3(device, pci);
}

API enum nvml_result nvmlDeviceGetPciInfo(nvml_device_t device, struct pci_info *pci)
{
    return nvmlDeviceGetPciInfo_v3(device, pci);
}

/* GPU time that all live processes have been given so far. */
static uint64_t busy_total(int index)
{
    struct books_process list[BOOKS_ENTRIES];
    int count = books_processes(index, list, BOOKS_ENTRIES);
    uint64_t busy = 0;
    for (int i = 0; i < count; i++)
        busy += list[i].use.busy_ns;
    return busy;
}

/* Percent of the time since the last question in which there was work; at the
 * first question: whether there is work now. */
API enum nvml_result nvmlDeviceGetUtilizationRates(nvml_device_t device, struct utilization *rates)
{
    CHECK(device);
    uint64_t now = nvml_now(), busy = busy_total(device->index), percent;
    if (device->asked_at == 0 || busy < device->busy_then)
        percent = books_busy_others(device->index, now) > 0 ? 100 : 0;
    else
        percent = (busy - device->busy_then) * 100 / (now - device->asked_at + 1);
    device->asked_at = now;
    device->busy_then = busy;
    rates->gpu = percent > 100 ? 100 : (unsigned)percent;
    rates->memory = rates->gpu / 2;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetMigMode(nvml_device_t device, unsigned *now, unsigned *pending)
{
    CHECK(device);
    *now = *pending = 0;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceIsMigDeviceHandle(nvml_device_t device, unsigned *is)
{
    CHECK(device);
    *is = 0;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetMaxMigDeviceCount(nvml_device_t device, unsigned *count)
{
    CHECK(device);
    *count = 0;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetTemperature(nvml_device_t device, unsigned sensor, unsigned *value)
{
    (void)sensor;
    CHECK(device);
    *value = 40;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetCudaComputeCapability(nvml_device_t device, int *major, int *minor)
{
    CHECK(device);
    *major = device->gpu.major;
    *minor = device->gpu.minor;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetClockInfo(nvml_device_t device, unsigned type, unsigned *mhz)
{
    (void)type;
    CHECK(device);
    *mhz = 1410;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetMaxClockInfo(nvml_device_t device, unsigned type, unsigned *mhz)
{
    return nvmlDeviceGetClockInfo(device, type, mhz);
}

API enum nvml_result nvmlDeviceGetEccMode(nvml_device_t device, unsigned *now, unsigned *pending)
{
    CHECK(device);
    *now = *pending = 0;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetTotalEccErrors(nvml_device_t device, unsigned type,
                                                 unsigned counter, unsigned long long *count)
{
    (void)type, (void)counter;
    CHECK(device);
    *count = 0;
    return NVML_SUCCESS;
}

/* Facts that are one unsigned number, the same for every simulated GPU. */
#define NUMBER(name, value)                                                                        \
    API enum nvml_result name(nvml_device_t device, unsigned *out)                                 \
    {                                                                                              \
        CHECK(device);                                                                             \
        *out = value;                                                                              \
        return NVML_SUCCESS;                                                                       \
    }

NUMBER(nvmlDeviceGetPowerUsage, 30000)              /* milliwatts */
NUMBER(nvmlDeviceGetEnforcedPowerLimit, 70000)
NUMBER(nvmlDeviceGetPowerManagementLimit, 70000)
NUMBER(nvmlDeviceGetFanSpeed, 0)
NUMBER(nvmlDeviceGetPerformanceState, 0)
NUMBER(nvmlDeviceGetPersistenceMode, 1)
NUMBER(nvmlDeviceGetComputeMode, 0)
NUMBER(nvmlDeviceGetDisplayActive, 0)
NUMBER(nvmlDeviceGetDisplayMode, 0)
NUMBER(nvmlDeviceGetVirtualizationMode, 0)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, 3)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, 16)
NUMBER(nvmlDeviceGetArchitecture, 7)
NUMBER(nvmlDeviceGetBrand, 2)
