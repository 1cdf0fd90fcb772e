/* Who uses a GPU: the process lists. */
#define _GNU_SOURCE
#include "nvml.h"

struct process_v1 { unsigned pid; unsigned long long bytes; };
struct process_v2 { unsigned pid; unsigned long long bytes; unsigned gi, ci; };

/* The figure of a process: some of what the driver holds for it is never listed. */
static uint64_t shown(const struct books_use *use)
{
    return use->bytes - use->hidden;
}

enum nvml_result nvml_list(nvml_device_t device, unsigned *count, struct books_process *out,
                           bool want)
{
    enum nvml_result checked = nvml_check(device);
    if (checked != NVML_SUCCESS)
        return checked;
    unsigned room = *count;
    *count = (unsigned)books_processes(device->index, out, BOOKS_ENTRIES);
    return *count > 0 && (!want || *count > room) ? NVML_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetComputeRunningProcesses(nvml_device_t device, unsigned *count,
                                                          struct process_v1 *out)
{
    struct books_process found[BOOKS_ENTRIES];
    enum nvml_result result = nvml_list(device, count, found, out != NULL);
    for (unsigned i = 0; result == NVML_SUCCESS && i < *count; i++)
        out[i] = (struct process_v1){found[i].pid, shown(&found[i].use)};
    return result;
}

API enum nvml_result nvmlDeviceGetComputeRunningProcesses_v3(nvml_device_t device, unsigned *count,
                                                             struct process_v2 *out)
{
    struct books_process found[BOOKS_ENTRIES];
    enum nvml_result result = nvml_list(device, count, found, out != NULL);
    for (unsigned i = 0; result == NVML_SUCCESS && i < *count; i++)
        out[i] = (struct process_v2){found[i].pid, shown(&found[i].use), ~0u, ~0u};
    return result;
}

API enum nvml_result nvmlDeviceGetComputeRunningProcesses_v2(nvml_device_t device, unsigned *count,
                                                             struct process_v2 *out)
{
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, out);
}

/* The list with a version word and one entry more: memory under confidential
 * computing, of which there is none. */
struct process_detail {
    unsigned pid;
    unsigned long long bytes;
    unsigned gi, ci;
    unsigned long long confidential;
};
struct process_details { unsigned version, mode, count; struct process_detail *list; };

API enum nvml_result nvmlDeviceGetRunningProcessDetailList(nvml_device_t device,
                                                           struct process_details *out)
{
    struct books_process found[BOOKS_ENTRIES];
    enum nvml_result result = nvml_list(device, &out->count, found, out->list != NULL);
    for (unsigned i = 0; result == NVML_SUCCESS && i < out->count; i++)
        out->list[i] = (struct process_detail){found[i].pid, shown(&found[i].use), ~0u, ~0u, 0};
    return result;
}

/* Nothing draws here, and there is no MPS server. */
API enum nvml_result nvmlDeviceGetGraphicsRunningProcesses_v3(nvml_device_t device, unsigned *count,
                                                              struct process_v2 *out)
{
    (void)out;
    *count = 0;
    return nvml_check(device);
}

API enum nvml_result nvmlDeviceGetGraphicsRunningProcesses_v2(nvml_device_t device, unsigned *count,
                                                              struct process_v2 *out)
{
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, out);
}

API enum nvml_result nvmlDeviceGetMPSComputeRunningProcesses_v3(nvml_device_t device,
                                                                unsigned *count,
                                                                struct process_v2 *out)
{
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, out);
}

API enum nvml_result nvmlDeviceGetMPSComputeRunningProcesses_v2(nvml_device_t device,
                                                                unsigned *count,
                                                                struct process_v2 *out)
{
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, out);
}

API enum nvml_result nvmlDeviceGetMPSComputeRunningProcesses(nvml_device_t device, unsigned *count,
                                                             struct process_v1 *out)
{
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, (struct process_v2 *)out);
}

API enum nvml_result nvmlDeviceGetGraphicsRunningProcesses(nvml_device_t device, unsigned *count,
                                                           struct process_v1 *out)
{
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, (struct process_v2 *)out);
}
