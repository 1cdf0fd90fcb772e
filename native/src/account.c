/* Contract in account.h, layout and concurrency rules in region.h. */
#include "account.h"

#include <string.h>

#define MOST_SLOTS 65536u /* a header that states more is not believed */

void vs_region_format(void *base, uint64_t now)
{
    struct vs_region_header *head = base;
    head->version = VS_REGION_VERSION;
    head->header_size = VS_REGION_HEADER_SIZE;
    head->gpu_offset = VS_REGION_GPU_OFFSET;
    head->gpu_stride = sizeof(struct vs_region_gpu);
    head->gpu_count = VS_REGION_GPUS;
    head->slot_offset = VS_REGION_HEADER_SIZE;
    head->slot_stride = sizeof(struct vs_region_slot);
    head->slot_count = VS_REGION_SLOTS;
    head->slot_gpu_offset = VS_REGION_SLOT_GPU_OFFSET;
    head->slot_gpu_stride = sizeof(struct vs_region_use);
    head->share_offset = VS_REGION_SHARE_OFFSET;
    head->share_stride = sizeof(struct vs_region_share);
    head->share_count = VS_REGION_SHARES;
    head->file_size = VS_REGION_FILE_SIZE;
    head->created = now;
    head->magic = VS_REGION_MAGIC;
}

/* Whether a table of `count` entries, each of at least `need` bytes, lies within `size` bytes, aligned. */
static bool table_fits(uint64_t offset, uint64_t stride, uint64_t count, uint64_t need, uint64_t size)
{
    return stride >= need && offset % 8 == 0 && stride % 8 == 0 && offset <= size && count > 0 &&
           stride <= size && count <= (size - offset) / stride;
}

const char *vs_region_check(void *base, uint64_t size, struct vs_view *view)
{
    struct vs_region_header copy, *head = &copy; /* checked and used from one reading */
    if (size < sizeof(copy))
        return "shorter than its header";
    memcpy(&copy, base, sizeof(copy));
    if (head->magic != VS_REGION_MAGIC)
        return "not a usage region";
    if (head->version != VS_REGION_VERSION)
        return "of a version that this interposer does not know";
    uint64_t uses = (uint64_t)head->slot_gpu_stride * head->gpu_count;
    if (head->gpu_count > VS_REGION_GPUS || head->slot_count > MOST_SLOTS || head->share_count > MOST_SLOTS || head->header_size > size ||
        head->gpu_offset < sizeof(*head) || head->slot_offset < head->header_size ||
        !table_fits(head->gpu_offset, head->gpu_stride, head->gpu_count, sizeof(struct vs_region_gpu),
                    head->header_size) ||
        head->slot_gpu_offset < VS_REGION_SLOT_GPU_OFFSET ||
        !table_fits(head->slot_gpu_offset, head->slot_gpu_stride, head->gpu_count, sizeof(struct vs_region_use),
                    head->slot_stride) ||
        !table_fits(head->slot_offset, head->slot_stride, head->slot_count, head->slot_gpu_offset + uses, size) ||
        head->share_offset < head->header_size ||
        !table_fits(head->share_offset, head->share_stride, head->share_count, sizeof(struct vs_region_share), size))
        return "damaged: its tables do not fit its size";
    *view = (struct vs_view){
        .base = base,
        .gpu_offset = head->gpu_offset,
        .gpu_stride = head->gpu_stride,
        .gpu_count = head->gpu_count,
        .slot_offset = head->slot_offset,
        .slot_stride = head->slot_stride,
        .slot_count = head->slot_count,
        .slot_gpu_offset = head->slot_gpu_offset,
        .slot_gpu_stride = head->slot_gpu_stride,
        .share_offset = head->share_offset,
        .share_stride = head->share_stride,
        .share_count = head->share_count,
    };
    return NULL;
}

unsigned vs_slots(const struct vs_view *view)
{
    uint32_t high = atomic_load_explicit(&vs_head(view)->slots_high, memory_order_acquire);
    return high < view->slot_count ? high : view->slot_count;
}

uint64_t vs_counting(const struct vs_view *view, unsigned slot)
{
    struct vs_region_slot *one = vs_slot(view, slot);
    uint64_t owner = atomic_load(&one->owner);
    return owner && atomic_load(&one->ready) == owner ? owner : 0;
}

int vs_gpu_index(const struct vs_view *view, const uint8_t uuid[16])
{
    uint64_t low, high;
    memcpy(&low, uuid, 8);
    memcpy(&high, uuid + 8, 8);
    low = low ? low : 1; /* zero marks a free entry */
    high = high ? high : 1;
    for (unsigned i = 0; i < view->gpu_count; i++) {
        struct vs_region_gpu *gpu = vs_gpu(view, i);
        uint64_t found = 0;
        if (!atomic_compare_exchange_strong(&gpu->uuid_low, &found, low) && found != low)
            continue;
        /* The entry is ours by its first half. Whoever wrote that may have been killed: complete it. */
        found = 0;
        if (atomic_compare_exchange_strong(&gpu->uuid_high, &found, high) || found == high)
            return (int)i;
    }
    return -1;
}

struct vs_sum vs_total(const struct vs_view *view, unsigned gpu)
{
    struct vs_sum sum = {0, 0};
    for (unsigned i = 0, slots = vs_slots(view); i < slots; i++) {
        if (!vs_counting(view, i))
            continue;
        struct vs_region_use *use = vs_use(view, i, gpu);
        sum.pending = vs_plus(sum.pending, atomic_load(&use->pending)); /* before used: see region.h */
        sum.used = vs_plus(sum.used, atomic_load(&use->used));
        sum.used = vs_plus(sum.used, atomic_load(&use->overhead));
    }
    return sum;
}

/* Clears what an earlier owner left. The slot does not count meanwhile. */
static void clear(const struct vs_view *view, unsigned slot)
{
    for (unsigned g = 0; g < view->gpu_count; g++) {
        struct vs_region_use *use = vs_use(view, slot, g);
        _Atomic uint64_t *words = (_Atomic uint64_t *)use;
        for (size_t w = 0; w < sizeof(*use) / sizeof(*words); w++)
            atomic_store_explicit(&words[w], 0, memory_order_relaxed);
    }
}

bool vs_slot_take(const struct vs_view *view, unsigned slot, uint64_t owner)
{
    struct vs_region_slot *one = vs_slot(view, slot);
    uint64_t free = 0;
    if (atomic_load_explicit(&one->owner, memory_order_relaxed) != 0 ||
        !atomic_compare_exchange_strong(&one->owner, &free, owner))
        return false;
    atomic_store(&one->ready, 0);
    clear(view, slot);
    uint32_t high = atomic_load(&vs_head(view)->slots_high);
    while (high < slot + 1 && !atomic_compare_exchange_weak(&vs_head(view)->slots_high, &high, slot + 1))
        continue;
    return true;
}

void vs_slot_open(const struct vs_view *view, unsigned slot)
{
    struct vs_region_slot *one = vs_slot(view, slot);
    atomic_store(&one->ready, atomic_load(&one->owner));
}

bool vs_slot_reap(const struct vs_view *view, unsigned slot, uint64_t owner)
{
    if (owner == 0 || !atomic_compare_exchange_strong(&vs_slot(view, slot)->owner, &owner, 0))
        return false;
    atomic_fetch_add(&vs_head(view)->reaped, 1);
    return true;
}

/* Raises a mark to a value. */
static void raise_to(_Atomic uint64_t *mark, uint64_t value)
{
    uint64_t seen = atomic_load_explicit(mark, memory_order_relaxed);
    while (seen < value && !atomic_compare_exchange_weak_explicit(mark, &seen, value, memory_order_relaxed,
                                                                  memory_order_relaxed))
        continue;
}

enum vs_verdict vs_ask(const struct vs_view *view, unsigned slot, unsigned gpu, uint64_t bytes, uint64_t limit)
{
    struct vs_region_use *own = vs_use(view, slot, gpu);
    if (bytes > limit)
        return VS_REFUSED;
    atomic_fetch_add(&own->pending, bytes);
    struct vs_sum sum = vs_total(view, gpu);
    uint64_t all = vs_plus(sum.used, sum.pending);
    if (all <= limit) {
        raise_to(&vs_gpu(view, gpu)->peak, all);
        return VS_GRANTED;
    }
    atomic_fetch_sub(&own->pending, bytes);
    /* Only settled use justifies a refusal. Read again: a request that was settled in between was summed twice. */
    return vs_plus(vs_total(view, gpu).used, bytes) > limit ? VS_REFUSED : VS_BUSY;
}

/* Subtracts without going below zero, whatever somebody may have scribbled there. */
static void take_down(_Atomic uint64_t *count, uint64_t bytes)
{
    if (VS_UNLIKELY(atomic_fetch_sub(count, bytes) < bytes))
        atomic_store(count, 0);
}

void vs_settle(const struct vs_view *view, unsigned slot, unsigned gpu, uint64_t pending, uint64_t actual)
{
    struct vs_region_use *own = vs_use(view, slot, gpu);
    if (actual) {
        uint64_t used = atomic_fetch_add(&own->used, actual) + actual; /* before pending: see region.h */
        raise_to(&own->peak, used + atomic_load_explicit(&own->overhead, memory_order_relaxed));
    }
    take_down(&own->pending, pending);
}

void vs_release(const struct vs_view *view, unsigned slot, unsigned gpu, uint64_t bytes)
{
    take_down(&vs_use(view, slot, gpu)->used, bytes);
}

void vs_overhead(const struct vs_view *view, unsigned slot, unsigned gpu, uint64_t bytes)
{
    struct vs_region_use *own = vs_use(view, slot, gpu);
    atomic_store(&own->overhead, bytes);
    raise_to(&own->peak, bytes + atomic_load_explicit(&own->used, memory_order_relaxed));
}
