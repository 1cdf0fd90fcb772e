/* NVML events. A test or demo reports one by appending a line to the file
 * `events` of the state folder: "GPU-<uuid> <type> <data>", for instance type 8
 * (critical Xid error) with data 79. */
#define _GNU_SOURCE
#include "nvml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct event_set {
    long seen;                       /* bytes of the file read so far */
    unsigned long long types[FAKE_MAX_GPUS];
};

struct event {
    nvml_device_t device;
    unsigned long long type, data;
    unsigned gi, ci;
};

static FILE *open_events(void)
{
    char path[512];
    snprintf(path, sizeof path, "%s/events", fake_state_dir());
    return fopen(path, "re");
}

API enum nvml_result nvmlEventSetCreate(struct event_set **set)
{
    *set = calloc(1, sizeof **set);
    FILE *file = open_events();
    if (file && *set) {
        fseek(file, 0, SEEK_END);
        (*set)->seen = ftell(file); /* only what happens from now on */
    }
    if (file)
        fclose(file);
    return *set ? NVML_SUCCESS : NVML_UNKNOWN;
}

API enum nvml_result nvmlEventSetFree(struct event_set *set)
{
    free(set);
    return NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetSupportedEventTypes(nvml_device_t device,
                                                      unsigned long long *types)
{
    *types = 0x1f;
    return nvml_check(device);
}

API enum nvml_result nvmlDeviceRegisterEvents(nvml_device_t device, unsigned long long types,
                                              struct event_set *set)
{
    enum nvml_result result = nvml_check(device);
    if (result == NVML_SUCCESS)
        set->types[device->index] |= types;
    return result;
}

/* Reads the next line that the set wants. */
static bool next_event(struct event_set *set, struct event *event)
{
    FILE *file = open_events();
    char line[256], uuid[64];
    bool found = false;
    if (!file)
        return false;
    fseek(file, set->seen, SEEK_SET);
    while (!found && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%63s %llu %llu", uuid, &event->type, &event->data) != 3)
            continue;
        for (int i = 0; i < nvml.count; i++)
            if (strcmp(nvml.devices[i].gpu.uuid, uuid) == 0 && (set->types[i] & event->type)) {
                event->device = &nvml.devices[i];
                event->gi = event->ci = ~0u;
                found = true;
            }
    }
    set->seen = ftell(file);
    fclose(file);
    return found;
}

API enum nvml_result nvmlEventSetWait_v2(struct event_set *set, struct event *event,
                                         unsigned milliseconds)
{
    uint64_t end = nvml_now() + milliseconds * 1000000ull;
    const struct timespec pause = {.tv_nsec = 20000000};
    while (!next_event(set, event)) {
        if (nvml_now() >= end)
            return NVML_TIMEOUT;
        nanosleep(&pause, NULL);
    }
    return NVML_SUCCESS;
}

API enum nvml_result nvmlEventSetWait(struct event_set *set, struct event *event,
                                      unsigned milliseconds)
{
    return nvmlEventSetWait_v2(set, event, milliseconds);
}
