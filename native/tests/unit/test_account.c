/* The accounting: grants never exceed the limit, dead processes leave nothing behind, and readers see no dip. */
#include "../../src/account.h"
#include "check.h"

#include <pthread.h>

#define LIMIT (100 * MIB)

static struct vs_view view;

/* A fresh region. */
static void start(void)
{
    free(view.base);
    void *base = calloc(1, VS_REGION_FILE_SIZE);
    vs_region_format(base, 5);
    CHECK(vs_region_check(base, VS_REGION_FILE_SIZE, &view) == NULL);
}

static void end(void)
{
    free(view.base);
    view.base = NULL;
}

static void join(unsigned slot, uint64_t owner)
{
    CHECK(vs_slot_take(&view, slot, owner));
    vs_slot_open(&view, slot);
}

/* Asks, settles in full; whether it was granted. */
static bool take(unsigned slot, uint64_t bytes)
{
    if (vs_ask(&view, slot, 0, bytes, LIMIT) != VS_GRANTED)
        return false;
    vs_settle(&view, slot, 0, bytes, bytes);
    return true;
}

/* Up to the last byte, and no byte more; freeing gives room again. */
static void the_limit_is_exact(void)
{
    start();
    join(0, 7);
    CHECK(take(0, LIMIT - 1));
    CHECK(!take(0, 2));
    CHECK(take(0, 1));
    CHECK(!take(0, 1));
    vs_release(&view, 0, 0, 10);
    CHECK(take(0, 10));
    CHECK_IS(vs_total(&view, 0).used, LIMIT);
    end();
}

/* Others' use counts, driver overhead too; another GPU's does not. */
static void all_slots_count(void)
{
    start();
    join(0, 7);
    join(3, 8);
    vs_overhead(&view, 3, 0, 30 * MIB);
    CHECK(take(3, 30 * MIB));
    vs_settle(&view, 3, 1, 0, 90 * MIB);
    CHECK(!take(0, 40 * MIB + 1));
    CHECK(take(0, 40 * MIB));
    end();
}

/* Only settled use refuses; another's pending request means: ask again. */
static void pending_is_busy(void)
{
    start();
    join(0, 7);
    join(1, 8);
    CHECK_IS(vs_ask(&view, 1, 0, 60 * MIB, LIMIT), VS_GRANTED);
    CHECK_IS(vs_ask(&view, 0, 0, 60 * MIB, LIMIT), VS_BUSY);
    CHECK_IS(vs_ask(&view, 0, 0, LIMIT + 1, LIMIT), VS_REFUSED);
    vs_settle(&view, 1, 0, 60 * MIB, 60 * MIB);
    CHECK_IS(vs_ask(&view, 0, 0, 60 * MIB, LIMIT), VS_REFUSED);
    CHECK_IS(vs_total(&view, 0).pending, 0);
    end();
}

/* A lowered limit refuses new memory until use has fallen; what is there stays. */
static void a_lowered_limit_refuses(void)
{
    start();
    join(0, 7);
    CHECK(take(0, 80 * MIB));
    CHECK_IS(vs_ask(&view, 0, 0, 1, 50 * MIB), VS_REFUSED);
    vs_release(&view, 0, 0, 40 * MIB);
    CHECK_IS(vs_ask(&view, 0, 0, 10 * MIB, 50 * MIB), VS_GRANTED);
    end();
}

/* Free never underflows, even on what somebody scribbled. */
static void release_stops_at_zero(void)
{
    start();
    join(0, 7);
    CHECK(take(0, 5));
    vs_release(&view, 0, 0, 9);
    CHECK_IS(vs_total(&view, 0).used, 0);
    end();
}

/* Sums saturate: absurd figures refuse, they do not wrap to room. */
static void absurd_figures_refuse(void)
{
    start();
    join(0, 7);
    join(1, 8);
    atomic_store(&vs_use(&view, 1, 0)->used, UINT64_MAX - 3);
    CHECK_IS(vs_total(&view, 0).used, UINT64_MAX - 3);
    CHECK(!take(0, 100));
    end();
}

/* A slot counts from when it is opened, reads zero however dirty it was, and is reaped once. */
static void slots_live_and_die(void)
{
    start();
    join(0, 7);
    CHECK(take(0, 60 * MIB));
    CHECK(!vs_slot_take(&view, 0, 9));
    CHECK(!vs_slot_reap(&view, 0, 9));
    CHECK(vs_slot_reap(&view, 0, 7));
    CHECK(!vs_slot_reap(&view, 0, 7));
    CHECK_IS(vs_total(&view, 0).used, 0);
    CHECK(vs_slot_take(&view, 0, 9));
    CHECK_IS(vs_counting(&view, 0), 0);
    vs_slot_open(&view, 0);
    CHECK_IS(vs_counting(&view, 0), 9);
    CHECK_IS(vs_total(&view, 0).used, 0);
    CHECK_IS(atomic_load(&vs_head(&view)->reaped), 1);
    end();
}

/* GPUs get an index once, by UUID, up to the table's end; half an entry, left by a kill, is completed. */
static void gpus_keep_their_index(void)
{
    start();
    uint8_t uuid[16] = {1};
    for (unsigned i = 0; i < VS_REGION_GPUS; i++) {
        uuid[15] = (uint8_t)i;
        uuid[0] = (uint8_t)(i + 1);
        CHECK_IS(vs_gpu_index(&view, uuid), i);
    }
    uuid[0] = 99;
    CHECK_IS(vs_gpu_index(&view, uuid), -1);
    uuid[0] = 3;
    uuid[15] = 2;
    atomic_store(&vs_gpu(&view, 2)->uuid_high, 0);
    CHECK_IS(vs_gpu_index(&view, uuid), 2);
    CHECK(atomic_load(&vs_gpu(&view, 2)->uuid_high) != 0);
    end();
}

/* Memory handed out is known while its owner lives; the entry of a dead owner is used again. */
static void shares_follow_their_owner(void)
{
    start();
    join(0, 7);
    join(1, 8);
    for (uint64_t key = 1; key <= 2 * VS_REGION_SHARES; key++) {
        uint64_t owner = 7 + key % 2;
        vs_share_note(&view, owner, key, key);
        CHECK_IS(vs_share_owner(&view, key), key <= VS_REGION_SHARES ? owner : 0);
    }
    vs_slot_reap(&view, 0, 7);
    CHECK_IS(vs_share_owner(&view, 2), 0);
    vs_share_note(&view, 8, 5000, 1);
    CHECK_IS(vs_share_owner(&view, 5000), 8);
    end();
}

static bool is_even(void *asked, uint64_t key)
{
    ++*(unsigned *)asked;
    return key % 2 == 0;
}

/* What its owner does not lend any more is nobody's; other owners' notes and those without a size stay. */
static void shares_are_dropped_by_their_owner(void)
{
    unsigned asked = 0;
    start();
    join(0, 7);
    join(1, 8);
    for (uint64_t key = 1; key <= 4; key++)
        vs_share_note(&view, 7, key, 100);
    vs_share_note(&view, 7, 5, 0);
    vs_share_note(&view, 8, 7, 100);
    vs_share_drop(&view, 7, is_even, &asked);
    CHECK_IS(asked, 4);
    for (uint64_t key = 1; key <= 4; key++)
        CHECK_IS(vs_share_owner(&view, key), key % 2 ? 0 : 7);
    CHECK_IS(vs_share_owner(&view, 5), 7);
    CHECK_IS(vs_share_owner(&view, 7), 8);
    CHECK_IS(atomic_load(&vs_head(&view)->unlent), 2);
    end();
}

#define SLOTS 6

/* A random history of one thread, against plain sums: every verdict is the model's. */
static void a_history_matches_sums(void)
{
    start();
    uint64_t used[SLOTS] = {0}, pending[SLOTS] = {0}, overhead[SLOTS] = {0}, asked[SLOTS] = {0}, state = 19;
    for (unsigned i = 0; i < SLOTS; i++)
        join(i, i + 1);
    for (int step = 0; step < 300000; step++) {
        unsigned s = (unsigned)below(&state, SLOTS);
        uint64_t n = below(&state, LIMIT / 3), settled = 0, all = 0, limit = below(&state, 2) ? LIMIT : LIMIT / 2;
        for (unsigned i = 0; i < SLOTS; i++) {
            settled += used[i] + overhead[i];
            all += used[i] + overhead[i] + pending[i];
        }
        switch (below(&state, 6)) {
        case 0:
        case 1:
            if (asked[s])
                break;
            enum vs_verdict wanted = n > limit || settled + n > limit ? VS_REFUSED : all + n > limit ? VS_BUSY
                                                                                                     : VS_GRANTED;
            CHECK_IS(vs_ask(&view, s, 0, n, limit), wanted);
            if (wanted == VS_GRANTED)
                pending[s] = asked[s] = n;
            break;
        case 2:
            n = asked[s] ? below(&state, asked[s] + 1) : 0;
            vs_settle(&view, s, 0, asked[s], n);
            used[s] += n;
            pending[s] = asked[s] = 0;
            break;
        case 3:
            n = vs_min(n, used[s]);
            vs_release(&view, s, 0, n);
            used[s] -= n;
            break;
        case 4:
            overhead[s] = n / 8;
            vs_overhead(&view, s, 0, overhead[s]);
            break;
        default:
            if (below(&state, 50))
                break;
            CHECK(vs_slot_reap(&view, s, atomic_load(&vs_slot(&view, s)->owner)));
            join(s, next_random(&state) | 1);
            used[s] = pending[s] = asked[s] = overhead[s] = 0;
        }
        CHECK(vs_total(&view, 0).used <= LIMIT + LIMIT);
    }
    end();
}

#define THREADS 4

static _Atomic uint64_t held_by_all; /* at every moment at most what is charged */

/* A thread that is a process: asks until it is refused, then lets some go; never may all together hold more than the
 * limit. (A sum over slots that change meanwhile may say more: it is no moment's picture.) */
static void *race(void *argument)
{
    unsigned slot = (unsigned)(uintptr_t)argument;
    uint64_t held = 0, state = slot + 1;
    for (int step = 0; step < 20000; step++) {
        uint64_t bytes = 1 + below(&state, 9 * MIB);
        if (vs_ask(&view, slot, 0, bytes, LIMIT) == VS_GRANTED) {
            vs_settle(&view, slot, 0, bytes, bytes);
            held += bytes;
            CHECK(atomic_fetch_add(&held_by_all, bytes) + bytes <= LIMIT);
        } else if (held) {
            uint64_t back = 1 + below(&state, held);
            atomic_fetch_sub(&held_by_all, back);
            vs_release(&view, slot, 0, back);
            held -= back;
        }
    }
    atomic_fetch_sub(&held_by_all, held);
    vs_release(&view, slot, 0, held);
    return NULL;
}

/* Asks for more than half, so that only one of all may ever hold it; lets go at once. */
static void *race_for_all(void *argument)
{
    unsigned slot = (unsigned)(uintptr_t)argument;
    for (int step = 0; step < 100000; step++) {
        if (vs_ask(&view, slot, 0, LIMIT / 2 + 1, LIMIT) != VS_GRANTED)
            continue;
        CHECK_IS(atomic_fetch_add(&held_by_all, 1), 0);
        atomic_fetch_sub(&held_by_all, 1);
        vs_settle(&view, slot, 0, LIMIT / 2 + 1, 0);
    }
    return NULL;
}

/* Two who each ask for more than half never both get it. */
static void never_two_get_the_larger_half(void)
{
    pthread_t threads[THREADS];
    start();
    for (unsigned i = 0; i < THREADS; i++)
        join(i, i + 1);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, race_for_all, (void *)(uintptr_t)i) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_IS(vs_total(&view, 0).pending, 0);
    end();
}

/* Racing processes never get more than the limit together, and nothing is left at the end. */
static void races_never_exceed(void)
{
    pthread_t threads[THREADS];
    start();
    for (unsigned i = 0; i < THREADS; i++)
        join(i, i + 1);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, race, (void *)(uintptr_t)i) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_IS(vs_total(&view, 0).used, 0);
    CHECK_IS(vs_total(&view, 0).pending, 0);
    end();
}

static _Atomic int reaps;

/* Takes and reaps slots, and looks GPUs up, against others that do the same. */
static void *churn(void *argument)
{
    uint64_t state = (uintptr_t)argument + 3;
    for (int step = 0; step < 5000; step++) {
        unsigned slot = (unsigned)below(&state, 8);
        uint64_t owner = next_random(&state) | 1;
        if (vs_slot_take(&view, slot, owner)) {
            vs_slot_open(&view, slot);
            vs_settle(&view, slot, 0, 0, MIB);
        }
        owner = atomic_load(&vs_slot(&view, slot)->owner);
        atomic_fetch_add(&reaps, vs_slot_reap(&view, slot, owner));
        uint8_t uuid[16] = {(uint8_t)(1 + below(&state, 12)), [15] = 1};
        int index = vs_gpu_index(&view, uuid);
        CHECK(index >= 0 && index == vs_gpu_index(&view, uuid));
    }
    return NULL;
}

/* Every death is reaped exactly once, and every GPU has one index, whoever races. */
static void churn_is_counted_once(void)
{
    pthread_t threads[THREADS];
    start();
    atomic_store(&reaps, 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)i) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_IS(atomic_load(&vs_head(&view)->reaped), atomic_load(&reaps));
    for (unsigned i = 0; i < 12; i++)
        for (unsigned j = 0; j < i; j++)
            CHECK(atomic_load(&vs_gpu(&view, i)->uuid_low) != atomic_load(&vs_gpu(&view, j)->uuid_low) ||
                  atomic_load(&vs_gpu(&view, i)->uuid_low) == 0);
    end();
}

int main(void)
{
    RUN(the_limit_is_exact);
    RUN(all_slots_count);
    RUN(pending_is_busy);
    RUN(a_lowered_limit_refuses);
    RUN(release_stops_at_zero);
    RUN(absurd_figures_refuse);
    RUN(slots_live_and_die);
    RUN(gpus_keep_their_index);
    RUN(shares_follow_their_owner);
    RUN(shares_are_dropped_by_their_owner);
    RUN(a_history_matches_sums);
    RUN(never_two_get_the_larger_half);
    RUN(races_never_exceed);
    RUN(churn_is_counted_once);
    return 0;
}
