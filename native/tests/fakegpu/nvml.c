/* Start, end, versions and handles of the fake NVML. */
#define _GNU_SOURCE
#include "nvml.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

struct nvml_state nvml = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char DRIVER_VERSION[] = "580.00.00";

uint64_t nvml_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

enum nvml_result nvml_check(nvml_device_t device)
{
    if (nvml.users == 0)
        return NVML_UNINITIALIZED;
    for (int i = 0; i < nvml.count; i++)
        if (device == &nvml.devices[i])
            return NVML_SUCCESS;
    return NVML_INVALID_ARGUMENT;
}

/* Reads the description; the caller holds the lock. */
static enum nvml_result start(void)
{
    struct fake_gpu gpus[FAKE_MAX_GPUS];
    char path[512];
    snprintf(path, sizeof path, "%s/gpus.ini", fake_state_dir());
    if (access(path, R_OK) != 0)
        return NVML_DRIVER_NOT_LOADED;
    nvml.count = fake_read_gpus(gpus);
    if (books_open(gpus, nvml.count) != 0)
        return NVML_UNKNOWN;
    for (int i = 0; i < nvml.count; i++)
        nvml.devices[i] = (struct nvml_device){.index = i, .gpu = gpus[i]};
    return NVML_SUCCESS;
}

API enum nvml_result nvmlInitWithFlags(unsigned flags)
{
    enum nvml_result result = NVML_SUCCESS;
    (void)flags;
    pthread_mutex_lock(&nvml.lock);
    if (nvml.users == 0)
        result = start();
    nvml.users += result == NVML_SUCCESS;
    pthread_mutex_unlock(&nvml.lock);
    return result;
}

API enum nvml_result nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

API enum nvml_result nvmlInit(void)
{
    return nvmlInitWithFlags(0);
}

API enum nvml_result nvmlShutdown(void)
{
    pthread_mutex_lock(&nvml.lock);
    enum nvml_result result = nvml.users > 0 ? NVML_SUCCESS : NVML_UNINITIALIZED;
    nvml.users -= nvml.users > 0;
    pthread_mutex_unlock(&nvml.lock);
    return result;
}

API const char *nvmlErrorString(enum nvml_result result)
{
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_UNINITIALIZED: return "Uninitialized";
    case NVML_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_NOT_SUPPORTED: return "Not Supported";
    case NVML_NOT_FOUND: return "Not Found";
    case NVML_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_TIMEOUT: return "Timeout";
    case NVML_VERSION_MISMATCH: return "Version Mismatch";
    default: return "Unknown Error";
    }
}

/* Copies a text out, or says that it does not fit. */
static enum nvml_result give_text(char *out, unsigned room, const char *text)
{
    if (nvml.users == 0)
        return NVML_UNINITIALIZED;
    if (!out)
        return NVML_INVALID_ARGUMENT;
    if (strlen(text) >= room)
        return NVML_INSUFFICIENT_SIZE;
    strcpy(out, text);
    return NVML_SUCCESS;
}

API enum nvml_result nvmlSystemGetDriverVersion(char *out, unsigned room)
{
    return give_text(out, room, DRIVER_VERSION);
}

API enum nvml_result nvmlSystemGetNVMLVersion(char *out, unsigned room)
{
    return give_text(out, room, "13.580.00.00");
}

API enum nvml_result nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    *version = 13000;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlSystemGetCudaDriverVersion(int *version)
{
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

/* The name of a process, as the kernel tells it. */
API enum nvml_result nvmlSystemGetProcessName(unsigned pid, char *out, unsigned room)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return NVML_NOT_FOUND;
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    return give_text(out, room, text);
}

API enum nvml_result nvmlDeviceGetCount_v2(unsigned *count)
{
    if (nvml.users == 0)
        return NVML_UNINITIALIZED;
    *count = (unsigned)nvml.count;
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetCount(unsigned *count)
{
    return nvmlDeviceGetCount_v2(count);
}

API enum nvml_result nvmlDeviceGetHandleByIndex_v2(unsigned index, nvml_device_t *device)
{
    if (nvml.users == 0)
        return NVML_UNINITIALIZED;
    if (index >= (unsigned)nvml.count)
        return NVML_INVALID_ARGUMENT;
    *device = &nvml.devices[index];
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetHandleByIndex(unsigned index, nvml_device_t *device)
{
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

API enum nvml_result nvmlDeviceGetHandleByUUID(const char *uuid, nvml_device_t *device)
{
    if (nvml.users == 0)
        return NVML_UNINITIALIZED;
    for (int i = 0; i < nvml.count; i++)
        if (strcmp(nvml.devices[i].gpu.uuid, uuid) == 0) {
            *device = &nvml.devices[i];
            return NVML_SUCCESS;
        }
    return NVML_NOT_FOUND;
}

API enum nvml_result nvmlDeviceGetHandleByPciBusId_v2(const char *pci, nvml_device_t *device)
{
    if (nvml.users == 0)
        return NVML_UNINITIALIZED;
    for (int i = 0; i < nvml.count; i++) {
        /* "00000000:01:00.0" and "0000:01:00.0" are the same place. */
        size_t mine = strlen(nvml.devices[i].gpu.pci), theirs = strlen(pci);
        size_t skip = theirs > mine ? theirs - mine : 0;
        if (strcasecmp(nvml.devices[i].gpu.pci, pci + skip) == 0) {
            *device = &nvml.devices[i];
            return NVML_SUCCESS;
        }
    }
    return NVML_NOT_FOUND;
}
