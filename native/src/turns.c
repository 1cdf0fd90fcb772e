/* Reading timetables: contract in turns.h. */
#include "turns.h"

#include "gates.h"
#include "system.h"

#include <stdio.h>
#include <string.h>

#define TIMETABLES "/opt/vramshare/gpus/"
#define LARGEST_TABLE 65536
#define LOOK_AGAIN_AFTER UINT64_C(100000000) /* ns */

_Atomic int vs_turns_taken;

/* Reads a timetable. Not on the caller's stack: a program's threads may have small ones. */
static bool read_table(struct vs_turns *turns, const char *path, const char *tenant)
{
    char *text = vs_own_pages.take(LARGEST_TABLE);
    long length = text ? vs_read_file(path, text, LARGEST_TABLE, turns->mark) : -1;
    bool read = length > 0 && vs_windows_parse(text, (size_t)length, tenant, &turns->table);
    if (text)
        vs_own_pages.give(text, LARGEST_TABLE);
    return read;
}

/* What the agent publishes for this container. False: nothing. */
static bool published(struct vs_process *process, struct vs_turns *turns, int gpu)
{
    char path[sizeof(TIMETABLES) + VS_UUID_TEXT] = TIMETABLES, tenant[VS_TENANT];
    uint64_t mark[4];
    vs_uuid_format(process->uuid[gpu], path + sizeof(TIMETABLES) - 1);
    if (!vs_mark_file(path, mark)) {
        memset(turns->mark, 0, sizeof(turns->mark));
        return turns->table_read = false;
    }
    if (memcmp(mark, turns->mark, sizeof(mark)) == 0 && turns->capped == atomic_load(&process->cores[gpu]))
        return turns->table_read;
    turns->capped = atomic_load(&process->cores[gpu]);
    vs_lock(&process->limits_lock); /* another thread may be reading the limits anew */
    memcpy(tenant, process->limits.tenant, sizeof(tenant));
    vs_unlock(&process->limits_lock);
    return turns->table_read = read_table(turns, path, turns->capped ? tenant : NULL) && (!turns->capped || *tenant);
}

static void refresh_gpu(struct vs_process *process, struct vs_turns *turns, int gpu)
{
    unsigned cores = atomic_load(&process->cores[gpu]);
    if (process->from_file && published(process, turns, gpu))
        turns->now = turns->table;
    else if (cores)
        vs_windows_own(cores, atomic_load(&vs_gpu(&process->view, (unsigned)gpu)->time_unit), &turns->now);
    else
        turns->now = (struct vs_windows){0};
}

void vs_turns_refresh(struct vs_process *process)
{
    struct vs_gates *gates = vs_gates(process);
    uint64_t time = vs_now(true);
    if (!gates || time - atomic_load_explicit(&gates->looked, memory_order_relaxed) < LOOK_AGAIN_AFTER)
        return;
    atomic_store_explicit(&gates->looked, time, memory_order_relaxed);
    vs_refresh_limits(process, false);
    vs_lock(&gates->turns_lock);
    int taken = 0;
    for (int gpu = 0; gpu < (int)VS_REGION_GPUS; gpu++) {
        if (!atomic_load(&process->known[gpu]))
            continue;
        refresh_gpu(process, &gates->turns[gpu], gpu);
        gates->turns[gpu].looked = true;
        taken |= gates->turns[gpu].now.count != 0;
    }
    vs_unlock(&gates->turns_lock);
    atomic_store_explicit(&vs_turns_taken, taken, memory_order_relaxed);
}

bool vs_turns_of(struct vs_process *process, int gpu, struct vs_windows *out)
{
    struct vs_gates *gates = vs_gates(process);
    if (!gates)
        return false;
    vs_lock(&gates->turns_lock);
    bool looked = gates->turns[gpu].looked;
    *out = gates->turns[gpu].now;
    vs_unlock(&gates->turns_lock);
    if (VS_UNLIKELY(!looked)) { /* a GPU that is used for the first time */
        atomic_store_explicit(&gates->looked, 0, memory_order_relaxed);
        vs_turns_refresh(process);
        vs_lock(&gates->turns_lock);
        *out = gates->turns[gpu].now;
        vs_unlock(&gates->turns_lock);
    }
    return out->count != 0;
}
