/* The slow halves of vs_lock: wait on the word in the kernel. */
#define _GNU_SOURCE
#include "base.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Takes the lock although it was held a moment ago: spins briefly, then sleeps until woken. */
void vs_lock_slow(vs_lock_t *lock)
{
    for (int spin = 0; spin < 64; spin++) {
        uint32_t free = 0;
        if (atomic_load_explicit(lock, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(lock, &free, 1, memory_order_acquire, memory_order_relaxed))
            return;
    }
    while (atomic_exchange_explicit(lock, 2, memory_order_acquire) != 0)
        syscall(SYS_futex, (uint32_t *)lock, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

/* Wakes one waiter of a lock that was just freed. */
void vs_unlock_slow(vs_lock_t *lock)
{
    syscall(SYS_futex, (uint32_t *)lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
