/* Forks while other threads take and free memory. Children use malloc and dlsym, ask
 * for the driver, or run another program; none may hang or crash.
 *
 *     forker FORKS
 *
 * Prints "forks=N" and exits 0. */
#define _GNU_SOURCE
#include "../paths/calls.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, NOT_INITIALIZED = 3, PATIENCE_S = 20 };

static atomic_int stop;
static void *context;

static void *churn(void *argument)
{
    (void)argument;
    cu.cuCtxSetCurrent(context);
    while (!atomic_load(&stop)) {
        dev_t_ptr at = 0;
        if (cu.cuMemAlloc_v2(&at, 3 << 20) == SUCCESS)
            cu.cuMemFree_v2(at);
    }
    return NULL;
}

static void child(int kind)
{
    alarm(PATIENCE_S);
    if (kind == 0)
        execlp("true", "true", (char *)NULL);
    if (kind == 1)
        _exit(cu.cuInit(0) == NOT_INITIALIZED ? 0 : 5);
    free(malloc(100000));
    _exit(dlsym(RTLD_DEFAULT, "printf") ? 0 : 6);
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    int forks = argc == 2 ? atoi(argv[1]) : 0;
    if (calls_load() != 0 || cu.cuInit(0) != SUCCESS ||
        cu.cuDevicePrimaryCtxRetain(&context, 0) != SUCCESS)
        return 2;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, churn, NULL);
    for (int i = 0; i < forks; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            child(i % 3);
        waitpid(pid, &status, 0);
        if (status != 0) {
            printf("child %d ended with %d\n", i, status);
            return 1;
        }
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("forks=%d\n", forks);
    return 0;
}
