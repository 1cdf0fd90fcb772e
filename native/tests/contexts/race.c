/* Many processes take memory at the same moment until they are refused.
 *
 *     race PROCESSES CHUNK
 *
 * Prints "bytes=B failed=N", what all of them hold together and how many could not start; waits for a line on
 * standard input so that somebody can look from outside, then ends. */
#define _GNU_SOURCE
#include "../paths/calls.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared { atomic_int ready, done, end, failed; atomic_ullong bytes; };

static void wait_for(atomic_int *counter, int value)
{
    while (atomic_load(counter) < value)
        sched_yield();
}

static void child(struct shared *shared, int processes, uint64_t chunk)
{
    void *context = NULL;
    dev_t_ptr at;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int result = calls_load() == 0 ? cu.cuInit(0) : -1;
    if (result == SUCCESS)
        result = cu.cuDevicePrimaryCtxRetain(&context, 0);
    if (result == SUCCESS)
        result = cu.cuCtxSetCurrent(context);
    if (result != SUCCESS)
        atomic_fetch_add(&shared->failed, 1);
    atomic_fetch_add(&shared->ready, 1);
    wait_for(&shared->ready, processes);
    while (result == SUCCESS && (result = cu.cuMemAlloc_v2(&at, chunk)) == SUCCESS)
        atomic_fetch_add(&shared->bytes, chunk);
    atomic_fetch_add(&shared->done, 1);
    while (!atomic_load(&shared->end))
        usleep(1000);
    _exit(0);
}

int main(int argc, char **argv)
{
    int processes = argc == 3 ? atoi(argv[1]) : 0;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (processes < 1 || shared == MAP_FAILED)
        return 2;
    for (int i = 0; i < processes; i++)
        if (fork() == 0)
            child(shared, processes, strtoull(argv[2], NULL, 10));
    while (atomic_load(&shared->done) < processes)
        usleep(1000);
    printf("bytes=%llu failed=%d\n", atomic_load(&shared->bytes), atomic_load(&shared->failed));
    fflush(stdout);
    (void)!getchar();
    atomic_store(&shared->end, 1);
    while (wait(NULL) > 0)
        continue;
    return 0;
}
