/* Asks for memory in a program that is linked with the driver.
 *
 *     probe_linked BYTES */
#include "probe.h"

#include <stdlib.h>

int cuInit(unsigned flags);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuCtxSetCurrent(void *context);
int cuMemAlloc_v2(unsigned long long *at, uint64_t size);
int cuMemGetInfo_v2(uint64_t *unused, uint64_t *total);

int main(int argc, char **argv)
{
    const struct probe probe = {cuInit, cuDevicePrimaryCtxRetain, cuCtxSetCurrent, cuMemAlloc_v2,
                                cuMemGetInfo_v2};
    return argc == 2 ? probe_run(&probe, strtoull(argv[1], NULL, 10)) : 2;
}
