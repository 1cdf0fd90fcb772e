/* Kills processes at random moments while they take and free memory, and checks after
 * each round that nothing is lost: a fresh process must get all that is free.
 *
 *     killed ROUNDS WHOLE SEED
 *
 * WHOLE: bytes that one fresh process can take at once when nobody else holds any.
 * Prints "rounds=N kills=N" and exits 0, or says in which round what was lost. */
#define _GNU_SOURCE
#include "../paths/calls.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHURNERS = 3, PIECES = 32, PATIENCE_S = 20 };

static int start(void)
{
    void *context = NULL;
    int result = calls_load() == 0 ? cu.cuInit(0) : -1;
    if (result == SUCCESS)
        result = cu.cuDevicePrimaryCtxRetain(&context, 0);
    return result != SUCCESS ? result : cu.cuCtxSetCurrent(context);
}

/* Takes and frees pieces of random size for ever. */
static void churn(unsigned seed)
{
    dev_t_ptr pieces[PIECES] = {0};
    if (start() != SUCCESS)
        _exit(3);
    for (;;) {
        dev_t_ptr *piece = &pieces[rand_r(&seed) % PIECES];
        if (*piece) {
            cu.cuMemFree_v2(*piece);
            *piece = 0;
        } else if (cu.cuMemAlloc_v2(piece, (size_t)(rand_r(&seed) % (8 << 20)) + 1) != SUCCESS) {
            *piece = 0;
        }
    }
}

/* Takes everything at once; the exit status tells how that went. */
static void verify(uint64_t whole)
{
    dev_t_ptr at;
    alarm(PATIENCE_S);
    if (start() != SUCCESS)
        _exit(3);
    _exit(cu.cuMemAlloc_v2(&at, whole) == SUCCESS ? 0 : 4);
}

/* Starts a child of one kind. It dies with its parent. */
static pid_t spawn(int churner, uint64_t whole, unsigned seed)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (churner)
        churn(seed);
    verify(whole);
    return 0;
}

static int run_round(uint64_t whole, unsigned *seed)
{
    pid_t children[CHURNERS];
    int status = 0;
    for (int i = 0; i < CHURNERS; i++)
        children[i] = spawn(1, 0, (unsigned)rand_r(seed));
    for (int i = 0; i < CHURNERS; i++) {
        usleep((useconds_t)(rand_r(seed) % 1500));
        kill(children[i], SIGKILL);
    }
    for (int i = 0; i < CHURNERS; i++)
        waitpid(children[i], NULL, 0);
    waitpid(spawn(0, whole, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int rounds = atoi(argv[1]);
    uint64_t whole = strtoull(argv[2], NULL, 10);
    unsigned seed = (unsigned)atoi(argv[3]);
    for (int i = 0; i < rounds; i++) {
        int result = run_round(whole, &seed);
        if (result != 0) {
            printf("round %d: %s (%d)\n", i,
                   result == 4 ? "memory was lost" : result < 0 ? "a hang" : "no start", result);
            return 1;
        }
    }
    printf("rounds=%d kills=%d\n", rounds, rounds * CHURNERS);
    return 0;
}
