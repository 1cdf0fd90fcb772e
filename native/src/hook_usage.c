/* NVML's utilisation and accounting queries: what this container's processes did, not what its neighbours did. */
#define _GNU_SOURCE
#include "driver.h"
#include "nvml.h"

#include <time.h>

#define SAMPLES 512
#define LOOK_BACK UINT64_C(1000000) /* microseconds of samples that make up "now" */

/* The state and GPU that a query is about; false: pass through. */
static bool about(nvmlDevice_t device, struct vs_process **process, int *gpu)
{
    *process = vs_on();
    *gpu = *process ? vs_gpu_of_nvml(*process, device) : VS_NO_CONTEXT;
    return *gpu != VS_NO_CONTEXT;
}

VS_EXPORT nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples,
                                                       unsigned int *count, unsigned long long since)
{
    VS_REAL_NVML(nvmlDeviceGetProcessUtilization);
    struct vs_process *process;
    int gpu;
    nvmlReturn_t result = VS_INSIDE(real(device, samples, count, since));
    if (result != NVML_SUCCESS || !samples || !count || !about(device, &process, &gpu))
        return result;
    unsigned kept = 0;
    for (unsigned i = 0; i < *count; i++)
        if (vs_pid_is_ours(process, samples[i].pid))
            samples[kept++] = samples[i];
    *count = kept;
    return kept ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

VS_EXPORT nvmlReturn_t nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device,
                                                             nvmlProcessesUtilizationInfo_v1_t *info)
{
    VS_REAL_NVML(nvmlDeviceGetProcessesUtilizationInfo);
    struct vs_process *process;
    int gpu;
    nvmlReturn_t result = VS_INSIDE(real(device, info));
    if (result != NVML_SUCCESS || !info->procUtilArray || !about(device, &process, &gpu))
        return result;
    unsigned kept = 0;
    for (unsigned i = 0; i < info->processSamplesCount; i++)
        if (vs_pid_is_ours(process, info->procUtilArray[i].pid))
            info->procUtilArray[kept++] = info->procUtilArray[i];
    info->processSamplesCount = kept;
    return kept ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

/* The container's own utilisation: per process the mean of its samples, summed. False: this GPU has no samples per
 * process, and the whole GPU's figure is all there is. */
static bool own_rates(struct vs_process *process, nvmlDevice_t device, nvmlUtilization_t *rates)
{
    struct timespec now;
    unsigned count = SAMPLES;
    __typeof__(&nvmlDeviceGetProcessUtilization) ask = VS_REAL(nvmlDeviceGetProcessUtilization);
    nvmlProcessUtilizationSample_t *samples = vs_own_pages.take(SAMPLES * sizeof(*samples));
    if (!ask || !samples)
        return false;
    clock_gettime(CLOCK_REALTIME, &now); /* NVML's timestamps are of this clock */
    uint64_t since = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 - LOOK_BACK;
    nvmlReturn_t result = VS_INSIDE(ask(device, samples, &count, since));
    uint64_t gpu = 0, memory = 0;
    for (unsigned i = 0; result == NVML_SUCCESS && i < count && i < SAMPLES; i++)
        if (vs_pid_is_ours(process, samples[i].pid)) {
            unsigned same = 0;
            for (unsigned j = 0; j < count && j < SAMPLES; j++)
                same += samples[j].pid == samples[i].pid;
            gpu += samples[i].smUtil * UINT64_C(1000) / same;
            memory += samples[i].memUtil * UINT64_C(1000) / same;
        }
    vs_own_pages.give(samples, SAMPLES * sizeof(*samples));
    rates->gpu = (unsigned)vs_min(gpu / 1000, 100);
    rates->memory = (unsigned)vs_min(memory / 1000, 100);
    return result == NVML_SUCCESS || result == NVML_ERROR_NOT_FOUND;
}

VS_EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates)
{
    VS_REAL_NVML(nvmlDeviceGetUtilizationRates);
    struct vs_process *process;
    int gpu;
    nvmlUtilization_t own;
    nvmlReturn_t result = VS_INSIDE(real(device, rates));
    if (result == NVML_SUCCESS && about(device, &process, &gpu) && own_rates(process, device, &own))
        *rates = own;
    return result;
}

VS_EXPORT nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, int type, unsigned long long since, int *value_type,
                                            unsigned int *count, nvmlSample_t *samples)
{
    VS_REAL_NVML(nvmlDeviceGetSamples);
    struct vs_process *process;
    int gpu;
    nvmlUtilization_t own;
    nvmlReturn_t result = VS_INSIDE(real(device, type, since, value_type, count, samples));
    if (result != NVML_SUCCESS || !samples || (type != NVML_SAMPLES_GPU && type != NVML_SAMPLES_MEMORY) ||
        !about(device, &process, &gpu) || !own_rates(process, device, &own))
        return result;
    for (unsigned i = 0; i < *count; i++)
        samples[i].sampleValue.ui = type == NVML_SAMPLES_GPU ? own.gpu : own.memory;
    return result;
}

VS_EXPORT nvmlReturn_t nvmlDeviceGetAccountingStats(nvmlDevice_t device, unsigned int pid, nvmlAccountingStats_t *stats)
{
    VS_REAL_NVML(nvmlDeviceGetAccountingStats);
    struct vs_process *process;
    int gpu;
    if (about(device, &process, &gpu) && !vs_pid_is_ours(process, pid))
        return NVML_ERROR_NOT_FOUND;
    return real(device, pid, stats);
}

VS_EXPORT nvmlReturn_t nvmlDeviceGetAccountingPids(nvmlDevice_t device, unsigned int *count, unsigned int *pids)
{
    VS_REAL_NVML(nvmlDeviceGetAccountingPids);
    struct vs_process *process;
    int gpu;
    nvmlReturn_t result = real(device, count, pids);
    if (result != NVML_SUCCESS || !pids || !about(device, &process, &gpu))
        return result;
    unsigned kept = 0;
    for (unsigned i = 0; i < *count; i++)
        if (vs_pid_is_ours(process, pids[i]))
            pids[kept++] = pids[i];
    *count = kept;
    return result;
}
