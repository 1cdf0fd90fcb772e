/* Contract in charge.h. */
#define _GNU_SOURCE
#include "charge.h"

#include "driver.h"
#include "say.h"
#include "system.h"

#include <sched.h>

#define LONGEST_WAIT UINT64_C(5000000000) /* ns to wait for others' requests to settle */
#define LONGEST_PAUSE UINT64_C(1000000)
#define NEAR_THE_WALL (UINT64_C(512) << 20) /* more than lazily loaded code takes between two measurements */

static enum vs_verdict ask(struct vs_process *process, int gpu, uint64_t bytes)
{
    int slot = vs_own_slot(process);
    if (VS_UNLIKELY(atomic_load_explicit(&process->borrows, memory_order_relaxed)))
        vs_check_lenders(process);
    if (gpu < 0 || slot < 0)
        return VS_REFUSED;
    return vs_ask(&process->view, (unsigned)slot, (unsigned)gpu, bytes, vs_limit_of(process, gpu));
}

bool vs_reserve_now(struct vs_process *process, int gpu, uint64_t bytes)
{
    return ask(process, gpu, bytes) == VS_GRANTED;
}

/* Lets others finish. Pauses differ by slot, so that two who stand in each other's way do not do so again. */
static void stand_back(struct vs_process *process, unsigned attempt)
{
    if (attempt < 4) {
        sched_yield();
        return;
    }
    uint64_t pause = UINT64_C(2000) << (attempt < 20 ? attempt / 2 : 10);
    unsigned slot = (unsigned)vs_own_slot(process);
    vs_pause(vs_min(pause + pause * (slot % 13) / 8, LONGEST_PAUSE));
}

/* After the first refusal: is it justified? */
static bool reserve_slow(struct vs_process *process, int gpu, uint64_t bytes)
{
    bool relieved = false;
    uint64_t start = vs_now(false);
    vs_refresh_limits(process, true);
    for (unsigned attempt = 0;; attempt++) {
        enum vs_verdict verdict = ask(process, gpu, bytes);
        if (verdict == VS_GRANTED)
            return true;
        if (verdict == VS_REFUSED) {
            if (relieved || gpu < 0 || bytes > vs_limit_of(process, gpu))
                return false;
            vs_reap(process);
            vs_driver_relieve(process, gpu);
            relieved = true;
            continue;
        }
        if (vs_now(false) - start > LONGEST_WAIT)
            return false;
        if (attempt % 64 == 63)
            vs_reap(process); /* who holds the pending request may be dead */
        stand_back(process, attempt);
    }
}

/* Whether the driver may have taken memory unmeasured, and so little is left that it matters. */
static bool unsure_and_near(struct vs_process *process, int gpu, uint64_t bytes)
{
    return gpu >= 0 && VS_UNLIKELY(atomic_load_explicit(&process->dirty[gpu], memory_order_relaxed)) &&
           vs_left(process, gpu) < vs_plus(bytes, NEAR_THE_WALL);
}

bool vs_reserve(struct vs_process *process, int gpu, uint64_t bytes)
{
    vs_refresh_limits(process, false);
    vs_measure_if_dirty(process, gpu, unsure_and_near(process, gpu, bytes));
    if (VS_LIKELY(ask(process, gpu, bytes) == VS_GRANTED))
        return true;
    if (reserve_slow(process, gpu, bytes))
        return true;
    vs_refuse(process, gpu, bytes);
    return false;
}

void vs_settled(struct vs_process *process, int gpu, uint64_t reserved, uint64_t actual)
{
    int slot = vs_own_slot(process);
    if (gpu >= 0 && slot >= 0)
        vs_settle(&process->view, (unsigned)slot, (unsigned)gpu, reserved, actual);
}

void vs_charge(struct vs_process *process, int gpu, uint64_t bytes) { vs_settled(process, gpu, 0, bytes); }

void vs_uncharge(struct vs_process *process, int gpu, uint64_t bytes)
{
    int slot = vs_own_slot(process);
    if (gpu >= 0 && slot >= 0 && bytes)
        vs_release(&process->view, (unsigned)slot, (unsigned)gpu, bytes);
}

uint64_t vs_in_use(struct vs_process *process, int gpu)
{
    struct vs_sum sum = vs_total(&process->view, (unsigned)gpu);
    return vs_plus(sum.used, sum.pending);
}

uint64_t vs_left(struct vs_process *process, int gpu)
{
    return vs_minus(vs_limit_of(process, gpu), vs_in_use(process, gpu));
}

uint64_t vs_own_use(struct vs_process *process, int gpu)
{
    int slot = vs_own_slot(process);
    return slot < 0 ? 0 : atomic_load(&vs_use(&process->view, (unsigned)slot, (unsigned)gpu)->used);
}

static void report(struct vs_process *process, int gpu, uint64_t bytes)
{
    struct vs_line line;
    char uuid[VS_UUID_TEXT] = "a GPU";
    vs_line_start(&line);
    vs_line_text(&line, "refused ");
    vs_line_size(&line, bytes);
    if (gpu >= 0) {
        vs_uuid_format(process->uuid[gpu], uuid);
        vs_line_text(&line, " on ");
        vs_line_text(&line, uuid);
        vs_line_text(&line, ": ");
        vs_line_size(&line, vs_total(&process->view, (unsigned)gpu).used);
        vs_line_text(&line, " of the slice of ");
        vs_line_size(&line, vs_limit_of(process, gpu));
        vs_line_text(&line, " are in use, ");
        vs_line_size(&line, vs_own_use(process, gpu));
        vs_line_text(&line, " of them by allocations of this process (said once)");
    } else {
        vs_line_text(&line, ": more GPUs than the usage region can hold");
    }
    vs_line_say(&line);
}

void vs_refuse(struct vs_process *process, int gpu, uint64_t bytes)
{
    int slot = vs_own_slot(process);
    if (gpu >= 0) {
        struct vs_region_gpu *entry = vs_gpu(&process->view, (unsigned)gpu);
        atomic_fetch_add(&entry->refused, 1);
        atomic_store(&entry->refused_bytes, bytes);
        if (slot >= 0)
            atomic_fetch_add(&vs_use(&process->view, (unsigned)slot, (unsigned)gpu)->refused, 1);
    }
    if (atomic_exchange(&process->warned[gpu < 0 ? 0 : gpu], 1) == 0 || vs_debug())
        report(process, gpu, bytes);
}
