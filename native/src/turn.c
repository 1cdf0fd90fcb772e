#include "turn.h"

static int64_t difference(uint64_t a, uint64_t b) { return (int64_t)(a - b); }

/* What is owed after the window that ended at `end`, seen from a new one that starts at `start`. */
static int64_t settled(const struct vs_windows *table, const struct vs_budget *budget, uint64_t end, uint64_t start,
                       uint64_t finish)
{
    struct vs_span last;
    int64_t debt = atomic_load_explicit(budget->debt, memory_order_relaxed);
    uint64_t allowed = end - (uint64_t)debt;
    /* Where nothing ran (a window given up for a debt) its time counts as unused from its start. */
    if (vs_windows_at(table, end - 1, &last) && last.end == end)
        finish = vs_max(finish, last.start);
    /* What still runs now uses the new window, and is counted there. */
    int64_t over = difference(vs_min(finish, start), allowed);
    bool wanted = atomic_load_explicit(budget->wanted, memory_order_relaxed) == end;
    int64_t left = wanted || over > 0 ? over : 0;
    /* Windows in which nobody asked pay debts off and save nothing up. */
    uint64_t idle = vs_windows_time(table, end, start);
    if (idle && left < 0)
        return 0;
    return left > 0 ? difference(vs_max((uint64_t)left, idle), idle) : left;
}

/* Enters the window `span` if it is new. */
static void enter(const struct vs_windows *table, const struct vs_budget *budget, struct vs_span span, uint64_t finish,
                  uint64_t cost)
{
    uint64_t end = atomic_load_explicit(budget->window, memory_order_acquire);
    if (end == span.end)
        return;
    int64_t most_saved = (int64_t)vs_max(cost, span.end - span.start);
    int64_t debt = end && end <= span.start ? settled(table, budget, end, span.start, finish) : 0;
    if (debt < -most_saved)
        debt = -most_saved;
    if (debt > VS_DEBT_MOST)
        debt = VS_DEBT_MOST;
    if (atomic_compare_exchange_strong_explicit(budget->window, &end, span.end, memory_order_acq_rel,
                                                memory_order_acquire))
        atomic_store_explicit(budget->debt, debt, memory_order_release);
}

struct vs_turn vs_turn_ask(const struct vs_windows *table, const struct vs_budget *budget, uint64_t now,
                           uint64_t finish, uint64_t cost)
{
    struct vs_span span, next;
    if (!vs_windows_at(table, now, &span))
        return (struct vs_turn){.go = false, .at = now + VS_CYCLE_SHORTEST};
    bool inside = span.start <= now;
    if (inside)
        enter(table, budget, span, finish, cost);
    uint64_t end = atomic_load_explicit(budget->window, memory_order_acquire);
    int64_t room = difference(end, now) - atomic_load_explicit(budget->debt, memory_order_acquire);
    uint64_t queued = vs_minus(finish, now);
    /* Outside of a window, time that was saved up still counts from the last window's end. */
    if (end && (inside || now >= end) && room > 0 && queued + cost / 2 <= (uint64_t)room) {
        uint64_t most = vs_max(VS_AHEAD, cost);
        return (struct vs_turn){.go = queued <= most, .ahead = queued > most, .at = now + vs_minus(queued, most / 2)};
    }
    if (inside)
        atomic_store_explicit(budget->wanted, span.end, memory_order_relaxed);
    if (!inside || !vs_windows_at(table, span.end, &next))
        next = span;
    return (struct vs_turn){.go = false, .at = next.start};
}
