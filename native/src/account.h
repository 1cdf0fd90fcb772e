/* The accounting on a mapped region: sums, grants, slots. Pure: it touches the region's bytes alone, takes time
 * and liveness as arguments, never waits and never calls the system.
 *
 * The rule of a grant: publish the size as pending in one's own slot, sum all slots, and keep it only if the sum
 * stays within the limit. Two processes can so never both be granted the last bytes: each has published before it
 * looks. If what is used plus one's own request exceeds the limit, the answer is a refusal; if only others'
 * pending requests stand in the way, it is "busy": take back and ask again in a moment. */
#ifndef VRAMSHARE_ACCOUNT_H
#define VRAMSHARE_ACCOUNT_H

#include "../include/region.h"
#include "base.h"

/* A region whose header was checked against the bytes that are there. */
struct vs_view {
    unsigned char *base;
    uint32_t gpu_offset, gpu_stride, gpu_count;
    uint32_t slot_offset, slot_stride, slot_count;
    uint32_t slot_gpu_offset, slot_gpu_stride;
    uint32_t share_offset, share_stride, share_count;
};

/* What a GPU's slice holds. */
struct vs_sum {
    uint64_t used;    /* allocations and driver overhead of all counting slots */
    uint64_t pending; /* asked for and not settled */
};

enum vs_verdict { VS_GRANTED, VS_REFUSED, VS_BUSY };

/* Writes an empty region into VS_REGION_FILE_SIZE zeroed bytes. */
void vs_region_format(void *base, uint64_t now);

/* Checks a region of `size` bytes. NULL and a usable view, or why it cannot be used. */
const char *vs_region_check(void *base, uint64_t size, struct vs_view *view);

static inline struct vs_region_header *vs_head(const struct vs_view *view)
{
    return (struct vs_region_header *)view->base;
}

static inline struct vs_region_gpu *vs_gpu(const struct vs_view *view, unsigned gpu)
{
    return (struct vs_region_gpu *)(view->base + view->gpu_offset + (size_t)gpu * view->gpu_stride);
}

static inline struct vs_region_slot *vs_slot(const struct vs_view *view, unsigned slot)
{
    return (struct vs_region_slot *)(view->base + view->slot_offset + (size_t)slot * view->slot_stride);
}

static inline struct vs_region_use *vs_use(const struct vs_view *view, unsigned slot, unsigned gpu)
{
    return (struct vs_region_use *)((unsigned char *)vs_slot(view, slot) + view->slot_gpu_offset +
                                    (size_t)gpu * view->slot_gpu_stride);
}

/* Slots that may be in use: those below this index. */
unsigned vs_slots(const struct vs_view *view);

/* The owner of a slot, if the slot counts; 0 otherwise. */
uint64_t vs_counting(const struct vs_view *view, unsigned slot);

/* The index of a GPU in the region, appended if it is new; -1: the table is full. Safe against any race and kill. */
int vs_gpu_index(const struct vs_view *view, const uint8_t uuid[16]);

/* Sums a GPU over all counting slots, saturating. */
struct vs_sum vs_total(const struct vs_view *view, unsigned gpu);

/* Takes a slot for an owner (not 0), with all counters zero and not counting yet. False: it is not free. */
bool vs_slot_take(const struct vs_view *view, unsigned slot, uint64_t owner);

/* Lets a taken slot count. */
void vs_slot_open(const struct vs_view *view, unsigned slot);

/* Takes back the slot of an owner that is dead. True for exactly one of all that try. */
bool vs_slot_reap(const struct vs_view *view, unsigned slot, uint64_t owner);

/* Asks for `bytes` under `limit`. On VS_GRANTED they are pending in the slot until vs_settle. */
enum vs_verdict vs_ask(const struct vs_view *view, unsigned slot, unsigned gpu, uint64_t bytes, uint64_t limit);

/* Ends a request: what was pending becomes `actual` bytes of use (0: the driver refused). */
void vs_settle(const struct vs_view *view, unsigned slot, unsigned gpu, uint64_t pending, uint64_t actual);

/* Gives back bytes of use. Never goes below zero. */
void vs_release(const struct vs_view *view, unsigned slot, unsigned gpu, uint64_t bytes);

/* Notes that `owner` has handed out memory known by `key` (not 0). Without room it is not noted, and is charged
 * twice if another process opens it: too much, never too little. */
void vs_share_note(const struct vs_view *view, uint64_t owner, uint64_t key, uint64_t size);

/* The living owner of handed-out memory; 0: nobody in this container. */
uint64_t vs_share_owner(const struct vs_view *view, uint64_t key);

/* Ends the notes of an owner about memory of a known size that it does not lend any more: those whose key `still` denies. */
void vs_share_drop(const struct vs_view *view, uint64_t owner, bool (*still)(void *context, uint64_t key), void *context);

/* The slot of an owner, if it counts; -1: it has none. */
int vs_owner_slot(const struct vs_view *view, uint64_t owner);

/* A hash for vs_share_note: never 0. */
uint64_t vs_share_key(const void *bytes, size_t length);

/* States the driver overhead as measured. */
void vs_overhead(const struct vs_view *view, unsigned slot, unsigned gpu, uint64_t bytes);

#endif
