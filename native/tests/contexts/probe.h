/* One attempt to take memory, by functions found in some way. */
#ifndef CONTEXTS_PROBE_H
#define CONTEXTS_PROBE_H

#include <stdint.h>

/* The calls that an attempt needs. */
struct probe {
    int (*init)(unsigned);
    int (*retain)(void **, int);
    int (*use)(void *);
    int (*alloc)(unsigned long long *, uint64_t);
    int (*info)(uint64_t *, uint64_t *);
};

/* Starts CUDA on the first GPU, asks for `size` bytes, and prints
 * "code=N total=B" with what cuMemAlloc and cuMemGetInfo answered. */
int probe_run(const struct probe *probe, uint64_t size);

#endif
