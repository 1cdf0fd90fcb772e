/* Words used everywhere in the interposer: visibility, branches, a lock that survives fork by being wiped. */
#ifndef VRAMSHARE_BASE_H
#define VRAMSHARE_BASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VS_EXPORT __attribute__((visibility("default")))
#define VS_LIKELY(x) __builtin_expect(!!(x), 1)
#define VS_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define VS_PAGE (UINT64_C(2) << 20) /* the driver takes device memory in pieces of this size */

/* Rounds up to a multiple of VS_PAGE; saturates instead of wrapping. */
static inline uint64_t vs_page_up(uint64_t size)
{
    return size > UINT64_MAX - VS_PAGE ? UINT64_MAX & ~(VS_PAGE - 1) : (size + VS_PAGE - 1) & ~(VS_PAGE - 1);
}

static inline uint64_t vs_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t vs_max(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline uint64_t vs_minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static inline uint64_t vs_plus(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

/* A lock of one word, zero when free: 1 held, 2 held with waiters. Needs no libpthread, works before its
 * constructors, and is free again in a forked child if it lies in memory that fork wipes. */
typedef _Atomic uint32_t vs_lock_t;

void vs_lock_slow(vs_lock_t *lock);
void vs_unlock_slow(vs_lock_t *lock);

static inline void vs_lock(vs_lock_t *lock)
{
    uint32_t free = 0;
    if (VS_UNLIKELY(!atomic_compare_exchange_strong_explicit(lock, &free, 1, memory_order_acquire,
                                                             memory_order_relaxed)))
        vs_lock_slow(lock);
}

static inline void vs_unlock(vs_lock_t *lock)
{
    if (VS_UNLIKELY(atomic_exchange_explicit(lock, 0, memory_order_release) == 2))
        vs_unlock_slow(lock);
}

#endif
