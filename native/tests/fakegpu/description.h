/* The simulated GPUs of this machine, as told by gpus.ini.
 *
 * Both fake libraries read the same file, so that the driver and NVML always
 * agree on order, names and sizes. */
#ifndef FAKEGPU_DESCRIPTION_H
#define FAKEGPU_DESCRIPTION_H

#include <stddef.h>
#include <stdint.h>

enum { FAKE_MAX_GPUS = 16 };

/* One simulated GPU. Sizes are bytes. */
struct fake_gpu {
    char uuid[64];         /* "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" */
    char model[96];
    char pci[32];          /* "0000:01:00.0" */
    uint64_t memory;       /* all of it, as NVML's total */
    uint64_t reserve;      /* never available to programs */
    uint64_t context;      /* taken by every context */
    uint64_t hidden;       /* taken beside that, and missing from the process's figure */
    uint64_t start;        /* taken by the first process that starts CUDA, as hidden */
    int major, minor;      /* compute capability */
    int multiprocessors;
    int minor_number;      /* position in the file: /dev/nvidia<n> */
};

/* Reads the GPUs that this process may see (see fake_read_gpus in the .c file
 * for the rules) into `gpus`. Returns how many, 0 if there is no description. */
int fake_read_gpus(struct fake_gpu gpus[FAKE_MAX_GPUS]);

/* The state folder: FAKEGPU_DIR, or /run/fakegpu. */
const char *fake_state_dir(void);

/* Parses "1536Mi", "10Gi", "4096" into bytes; 0 if it is none of these. */
uint64_t fake_parse_size(const char *text);

/* Writes the sixteen bytes of a "GPU-…" UUID. Returns 0, or -1 if malformed. */
int fake_uuid_bytes(const char *uuid, unsigned char bytes[16]);

#endif
