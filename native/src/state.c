/* Attaching a process: contract in state.h. */
#define _GNU_SOURCE
#include "state.h"

#include "elf.h"
#include "say.h"
#include "system.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

#define ALLOCATION_FILE "/etc/vramshare/allocation"
#define REGION_FILE "/run/vramshare/region"
#define LARGEST_ALLOCATION 16384
#define LOOK_AGAIN_AFTER UINT64_C(100000000) /* ns between two looks at the limits */

#define FEW_SLOTS 16 /* so many can be looked at every time */

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

VS_EXPORT const int vramshare_guard = 1;

_Thread_local __attribute__((tls_model("initial-exec"))) int vs_nested;
struct vs_process *_Atomic vs_process_now;

/* Survives fork: a forked child goes on using the mapping. Written once, `base` last. */
static struct vs_mapping mapping = {.file = -1};
static void *_Atomic mapped_base;
static _Atomic pid_t state_owner; /* set where the kernel cannot wipe memory on fork (before Linux 4.14) */
bool vs_unwiped;

bool vs_passive(void)
{
    static _Atomic int found; /* 0: not looked yet, 1: active, 2: passive */
    int state = atomic_load_explicit(&found, memory_order_relaxed);
    if (VS_UNLIKELY(state == 0)) {
        void *first = vs_elf_first("vramshare_guard");
        state = first && first != (const void *)&vramshare_guard ? 2 : 1;
        atomic_store_explicit(&found, state, memory_order_relaxed);
    }
    return state == 2;
}

/* The region's file; NULL: a private one. The environment is asked once, at the first attaching: later another thread
 * may be changing it. */
static const char *region_path(const struct vs_process *process)
{
    static char stated[512];
    static _Atomic int asked; /* 0: not yet, 1: there is none, 2: stated */
    if (process->from_file)
        return REGION_FILE;
    if (atomic_load(&asked) == 0) {
        const char *value = vs_variable("VRAMSHARE_REGION");
        bool fits = value && *value && strlen(value) < sizeof(stated);
        if (fits)
            memcpy(stated, value, strlen(value) + 1);
        atomic_store(&asked, fits ? 2 : 1);
    }
    return atomic_load(&asked) == 2 ? stated : NULL;
}

/* The state's memory; NULL if there is none to be had. */
static struct vs_process *state_memory(void)
{
    struct vs_process *process = atomic_load(&vs_process_now), *none = NULL;
    if (process)
        return process;
    size_t size = (sizeof(*process) + 4095) & ~(size_t)4095;
    process = vs_pages.take(size);
    if (!process)
        return NULL;
    if (madvise(process, size, MADV_WIPEONFORK) != 0) {
        atomic_store(&state_owner, getpid());
        vs_unwiped = true;
    }
    if (atomic_compare_exchange_strong(&vs_process_now, &none, process))
        return process;
    vs_pages.give(process, size);
    return none;
}

/* Reads the limits' source. False: neither file nor environment state any. */
static bool read_limits(struct vs_process *process)
{
    char text[LARGEST_ALLOCATION];
    long length = vs_read_file(ALLOCATION_FILE, text, sizeof(text), process->file_mark);
    if (length != -1) {
        process->from_file = true; /* a file that cannot be read gives no GPU a limit: all are 0 */
        vs_limits_parse(text, length > 0 ? (size_t)length : 0, &process->limits);
        return true;
    }
    if (process->from_file)
        return true; /* it was there before: the last limits stand */
    const char *memory = vs_variable("VRAMSHARE_MEMORY"), *cores = vs_variable("VRAMSHARE_CORES");
    if (!memory && !cores)
        return false;
    const char *stated = memory ? memory : "100%";
    strncpy(process->stated, strlen(stated) < sizeof(process->stated) ? stated : "?", sizeof(process->stated) - 1);
    if (cores && !vs_cores_parse(cores, strlen(cores), &process->stated_cores))
        strcpy(process->stated, "?");
    return true;
}

/* The limit of a looked-up GPU, from what was read. */
static struct vs_limit limit_for(struct vs_process *process, int gpu)
{
    struct vs_limit limit = {.cores = process->stated_cores};
    if (process->from_file) {
        const struct vs_limit *line = vs_limits_find(&process->limits, process->uuid[gpu]);
        return line ? *line : (struct vs_limit){0};
    }
    if (!vs_size_parse(process->stated, strlen(process->stated), process->whole[gpu], &limit.memory))
        limit.memory = limit.cores = 0;
    return limit;
}

static void apply_limit(struct vs_process *process, int gpu)
{
    struct vs_limit limit = limit_for(process, gpu);
    struct vs_region_gpu *entry = vs_gpu(&process->view, (unsigned)gpu);
    atomic_store(&process->limit[gpu], limit.memory);
    atomic_store(&process->cores[gpu], limit.cores);
    atomic_store(&entry->limit, limit.memory);
    atomic_store(&entry->cores, limit.cores);
}

void vs_refresh_limits(struct vs_process *process, bool now)
{
    if (!process->from_file)
        return;
    uint64_t time = vs_now(true), last = atomic_load_explicit(&process->ticked, memory_order_relaxed), mark[4];
    if (!now && time - last < LOOK_AGAIN_AFTER)
        return;
    atomic_store_explicit(&process->ticked, time, memory_order_relaxed);
    if (!vs_mark_file(ALLOCATION_FILE, mark))
        return;
    vs_lock(&process->limits_lock);
    if (memcmp(mark, process->file_mark, sizeof(mark)) != 0) {
        read_limits(process);
        for (int gpu = 0; gpu < (int)process->view.gpu_count; gpu++)
            if (process->known[gpu])
                apply_limit(process, gpu);
    }
    vs_unlock(&process->limits_lock);
}

int vs_gpu_of_uuid(struct vs_process *process, const uint8_t uuid[16])
{
    int gpu = vs_gpu_index(&process->view, uuid);
    if (gpu < 0)
        return VS_UNKNOWN_GPU;
    if (!atomic_load_explicit(&process->known[gpu], memory_order_acquire)) {
        vs_lock(&process->limits_lock);
        memcpy(process->uuid[gpu], uuid, 16);
        apply_limit(process, gpu);
        atomic_store_explicit(&process->known[gpu], 1, memory_order_release);
        vs_unlock(&process->limits_lock);
    }
    return gpu;
}

void vs_set_whole(struct vs_process *process, int gpu, uint64_t bytes)
{
    if (gpu < 0 || process->whole[gpu] == bytes)
        return;
    vs_lock(&process->limits_lock);
    process->whole[gpu] = bytes;
    apply_limit(process, gpu);
    vs_unlock(&process->limits_lock);
}

/* Maps the region for this process, or finds what its parent mapped. False: there is no memory at all. */
static bool open_region(struct vs_process *process)
{
    void *base = atomic_load(&mapped_base);
    if (!base) {
        const char *path = region_path(process);
        mapping = vs_map_region(path, !vs_is_secure());
        if (!mapping.base)
            return false;
        if (mapping.why) {
            struct vs_line line;
            vs_line_start(&line);
            vs_line_text(&line, path);
            vs_line_text(&line, ": no usage region there (");
            vs_line_text(&line, mapping.why);
            vs_line_text(&line, "); the limit holds for each process of this container by itself");
            vs_line_say(&line);
        }
        atomic_store(&mapped_base, mapping.base);
    }
    return vs_region_check(mapping.base, mapping.size, &process->view) == NULL;
}

static struct vs_process *attach_locked(struct vs_process *process)
{
    if (atomic_load(&process->mode) == VS_UNSET) {
        int mode = read_limits(process) ? VS_ON : VS_OFF;
        if (mode == VS_ON && !open_region(process))
            mode = VS_OFF;
        atomic_store_explicit(&process->mode, mode, memory_order_release);
    }
    return atomic_load(&process->mode) == VS_ON ? process : NULL;
}

/* Where the kernel cannot do it: empties the state that a forked child inherited. */
static void wipe_if_forked(struct vs_process *process)
{
    pid_t owner = atomic_load(&state_owner), self;
    if (VS_LIKELY(owner == 0) || (self = getpid()) == owner)
        return;
    memset((void *)process, 0, sizeof(*process));
    atomic_store(&state_owner, self);
}

struct vs_process *vs_attach(void)
{
    if (vs_passive())
        return NULL;
    struct vs_process *process = state_memory();
    if (!process)
        return NULL;
    wipe_if_forked(process);
    if (atomic_load_explicit(&process->mode, memory_order_acquire) == VS_ON)
        return process;
    if (atomic_load_explicit(&process->mode, memory_order_acquire) == VS_OFF)
        return NULL;
    vs_lock(&process->start_lock);
    struct vs_process *result = attach_locked(process);
    vs_unlock(&process->start_lock);
    return result;
}

uint64_t vs_own_pidns(struct vs_process *process)
{
    uint64_t known = atomic_load_explicit(&process->pidns, memory_order_relaxed);
    if (!known) {
        struct vs_identity self;
        vs_identify(&self);
        known = self.pidns ? self.pidns : 1;
        atomic_store_explicit(&process->pidns, known, memory_order_relaxed);
    }
    return known == 1 ? 0 : known;
}

/* The region's descriptor. Where the program has closed it, another one is opened and kept, and the slot locked again. */
static int region_file(const struct vs_process *process)
{
    int file = vs_region_file(&mapping, region_path(process)), slot = atomic_load(&process->slot) - 1;
    if (file < 0 || file == mapping.file)
        return file;
    mapping.file = file;
    if (slot >= 0)
        vs_slot_lock(&process->view, (unsigned)slot, file);
    return file;
}

/* Takes back the slots of processes that are dead; how many. */
int vs_reap(struct vs_process *process)
{
    int reaped = 0, own = atomic_load(&process->slot) - 1;
    uint64_t pidns = vs_own_pidns(process);
    int file = region_file(process);
    for (unsigned i = 0, slots = vs_slots(&process->view); i < slots; i++) {
        uint64_t owner = atomic_load(&vs_slot(&process->view, i)->owner);
        if (owner && (int)i != own && vs_is_dead(&process->view, i, owner, pidns, file))
            reaped += vs_slot_reap(&process->view, i, owner);
    }
    return reaped;
}

void vs_reap_sometimes(struct vs_process *process)
{
    uint64_t now = vs_now(true);
    if (vs_slots(&process->view) > FEW_SLOTS && now - atomic_load(&process->reaped) < LOOK_AGAIN_AFTER)
        return;
    atomic_store(&process->reaped, now);
    vs_reap(process);
}

static void describe(struct vs_region_slot *slot, const struct vs_identity *self)
{
    atomic_store(&slot->pidns, self->pidns);
    atomic_store(&slot->start, self->start);
    atomic_store(&slot->pid, self->pid);
    atomic_store(&slot->uid, self->uid);
    atomic_store(&slot->attached, vs_now(false));
    memcpy(slot->command, self->command, sizeof(slot->command));
    strncpy(slot->version, TEXT(VS_VERSION), sizeof(slot->version) - 1);
}

/* Takes a free slot: the lock first, then the slot, so that whoever finds it taken finds it locked. */
static int take_free_slot(struct vs_process *process, const struct vs_identity *self)
{
    const struct vs_view *view = &process->view;
    for (unsigned i = 0; i < view->slot_count; i++) {
        if (atomic_load(&vs_slot(view, i)->owner) != 0 || !vs_slot_lock(view, i, mapping.file))
            continue;
        if (vs_slot_take(view, i, self->owner)) {
            describe(vs_slot(view, i), self);
            vs_slot_open(view, i);
            return (int)i;
        }
        vs_slot_unlock(view, i, mapping.file);
    }
    return -1;
}

/* Takes back what this process held before it became another program: exec ends all use of the GPU, and changes neither
 * PID nor start time. */
static void reap_former_self(struct vs_process *process, const struct vs_identity *self)
{
    const struct vs_view *view = &process->view;
    for (unsigned i = 0, slots = vs_slots(view); i < slots; i++)
        if (atomic_load(&vs_slot(view, i)->owner) == self->owner &&
            atomic_load(&vs_slot(view, i)->pidns) == self->pidns && !vs_slot_is_locked(view, i, mapping.file))
            vs_slot_reap(view, i, self->owner);
}

static int take_slot(struct vs_process *process)
{
    struct vs_identity self;
    vs_identify(&self);
    mapping.file = region_file(process);
    reap_former_self(process, &self);
    vs_reap(process);
    return take_free_slot(process, &self);
}

int vs_own_slot(struct vs_process *process)
{
    int slot = atomic_load_explicit(&process->slot, memory_order_acquire);
    if (VS_LIKELY(slot > 0))
        return slot - 1;
    vs_lock(&process->start_lock);
    slot = atomic_load(&process->slot);
    if (slot == 0) {
        slot = take_slot(process) + 1;
        atomic_store_explicit(&process->slot, slot, memory_order_release);
    }
    vs_unlock(&process->start_lock);
    return slot - 1;
}
