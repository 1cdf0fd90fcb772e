/* See probe.h. */
#include "probe.h"

#include <stdio.h>

int probe_run(const struct probe *probe, uint64_t size)
{
    unsigned long long at = 0;
    uint64_t unused = 0, total = 0;
    void *context = NULL;
    int result = probe->init(0);
    if (result == 0)
        result = probe->retain(&context, 0);
    if (result == 0)
        result = probe->use(context);
    if (result != 0) {
        printf("no start, code=%d\n", result);
        return 1;
    }
    result = probe->alloc(&at, size);
    probe->info(&unused, &total);
    printf("code=%d total=%llu\n", result, (unsigned long long)total);
    fflush(stdout);
    return 0;
}
