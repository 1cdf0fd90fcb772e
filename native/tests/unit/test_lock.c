/* The lock: one holder at a time, nobody left asleep. */
#include "../../src/base.h"
#include "check.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS 50000

static vs_lock_t lock;
static uint64_t counter; /* guarded by the lock */

static void *count(void *argument)
{
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        vs_lock(&lock);
        counter++;
        vs_unlock(&lock);
    }
    return NULL;
}

/* Under contention no increment is lost, and all threads come home. */
static void increments_are_not_lost(void)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, count, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_IS(counter, THREADS * ROUNDS);
}

int main(void)
{
    RUN(increments_are_not_lost);
    return 0;
}
