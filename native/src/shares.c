/* Memory handed out to other processes of the container: contract in account.h. */
#include "account.h"

static struct vs_region_share *share(const struct vs_view *view, unsigned i)
{
    return (struct vs_region_share *)(view->base + view->share_offset + (size_t)i * view->share_stride);
}

int vs_owner_slot(const struct vs_view *view, uint64_t owner)
{
    for (unsigned i = 0, slots = vs_slots(view); i < slots && owner; i++)
        if (vs_counting(view, i) == owner)
            return (int)i;
    return -1;
}

void vs_share_note(const struct vs_view *view, uint64_t owner, uint64_t key, uint64_t size)
{
    for (unsigned i = 0; i < view->share_count; i++) {
        struct vs_region_share *one = share(view, i);
        uint64_t found = atomic_load(&one->owner);
        if (found == owner && atomic_load(&one->key) == key)
            return;
        if (found != 0 && (found == owner || vs_owner_slot(view, found) >= 0))
            continue;
        if (!atomic_compare_exchange_strong(&one->owner, &found, owner))
            continue;
        atomic_store(&one->key, 0); /* a former owner's: not ours for an instant, and nobody's */
        atomic_store(&one->size, size);
        atomic_store(&one->key, key);
        return;
    }
}

void vs_share_drop(const struct vs_view *view, uint64_t owner, bool (*still)(void *context, uint64_t key), void *context)
{
    for (unsigned i = 0; owner && i < view->share_count; i++) {
        struct vs_region_share *one = share(view, i);
        uint64_t found = owner;
        if (atomic_load(&one->owner) != owner || atomic_load(&one->size) == 0 || still(context, atomic_load(&one->key)))
            continue;
        if (atomic_compare_exchange_strong(&one->owner, &found, 0))
            atomic_fetch_add(&vs_head(view)->unlent, 1);
    }
}

uint64_t vs_share_owner(const struct vs_view *view, uint64_t key)
{
    for (unsigned i = 0; i < view->share_count; i++) {
        struct vs_region_share *one = share(view, i);
        uint64_t owner = atomic_load(&one->owner);
        if (owner && atomic_load(&one->key) == key && vs_owner_slot(view, owner) >= 0)
            return owner;
    }
    return 0;
}

uint64_t vs_share_key(const void *bytes, size_t length)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const uint8_t *at = bytes, *end = at + length; at < end; at++)
        hash = (hash ^ *at) * UINT64_C(0x100000001b3);
    return hash ? hash : 1;
}
