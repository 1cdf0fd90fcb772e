/* Between the files of NVML hooks. */
#ifndef VRAMSHARE_NVML_H
#define VRAMSHARE_NVML_H

#include "real.h"
#include "state.h"

/* The GPU index of an NVML handle. VS_NO_CONTEXT: not a whole GPU (NVML will say what it is). */
int vs_gpu_of_nvml(struct vs_process *process, nvmlDevice_t device);

/* Whether a PID of our namespace has a slot. */
bool vs_pid_is_ours(struct vs_process *process, unsigned pid);

#endif
