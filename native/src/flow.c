#include "flow.h"

/* A kind's place: its own, or a free one, or the least known of a few. */
static unsigned place(const struct vs_costs *costs, uint64_t kind)
{
    unsigned start = (unsigned)((kind * UINT64_C(0x9e3779b97f4a7c15)) >> 52) & (VS_COSTS - 1);
    for (unsigned i = 0; i < 8; i++) {
        unsigned at = (start + i) & (VS_COSTS - 1);
        if (costs->at[at].kind == kind || costs->at[at].kind == 0)
            return at;
    }
    return start; /* all taken: the newest is worth more than the oldest */
}

uint64_t vs_cost(const struct vs_costs *costs, uint64_t kind)
{
    unsigned at = place(costs, kind);
    return costs->at[at].kind == kind ? costs->at[at].cost : 0;
}

/* Down quickly, up slowly: a measurement is too long when another's work ran in between or the GPU stood idle, and
 * never too short. */
static void learn(struct vs_costs *costs, uint64_t kind, uint64_t sample)
{
    unsigned at = place(costs, kind);
    uint64_t cost = costs->at[at].kind == kind ? costs->at[at].cost : 0;
    if (cost == 0)
        cost = sample;
    else if (sample < cost)
        cost -= (cost - sample) / 2;
    else
        cost += (sample - cost) / 8;
    costs->at[at].kind = kind;
    costs->at[at].cost = vs_max(cost, 1);
}

bool vs_flow_launch(struct vs_flow *flow, uint64_t now, uint64_t kind, uint64_t cost, bool known)
{
    if (flow->estimate == 0)
        flow->anchor = now;
    flow->estimate += vs_max(cost, 1);
    flow->open.estimate += vs_max(cost, 1);
    flow->open.units++;
    if (flow->open.kinds < VS_SEGMENT_KINDS) {
        unsigned i = 0;
        while (i < flow->open.kinds && flow->open.kind[i] != kind)
            i++;
        if (i == flow->open.kinds)
            flow->open.kind[flow->open.kinds++] = kind;
    }
    return !known || flow->open.estimate >= VS_MARK_EVERY;
}

bool vs_flow_mark(struct vs_flow *flow)
{
    if (flow->open.units == 0 || flow->count == VS_MARKS)
        return false;
    flow->segment[(flow->first + flow->count++) % VS_MARKS] = flow->open;
    flow->open = (struct vs_segment){0};
    return true;
}

void vs_flow_done(struct vs_flow *flow, struct vs_costs *costs, uint64_t now, uint64_t elapsed)
{
    if (flow->count == 0)
        return;
    struct vs_segment *done = &flow->segment[flow->first];
    for (unsigned i = 0; elapsed && i < done->kinds; i++) {
        uint64_t cost = vs_cost(costs, done->kind[i]);
        /* In a mixed segment every kind was off by the same factor, for want of better knowledge. */
        uint64_t sample = done->kinds == 1 || cost == 0
                              ? elapsed / done->units
                              : (uint64_t)((double)cost * (double)elapsed / (double)done->estimate);
        learn(costs, done->kind[i], vs_min(vs_max(sample, 1), VS_COST_MOST));
    }
    /* The mark may be seen late; what was measured from the one before says when it was reached. */
    flow->anchor = elapsed ? vs_min(now, vs_plus(flow->anchor, elapsed)) : now;
    flow->estimate -= done->estimate;
    flow->first = (flow->first + 1) % VS_MARKS;
    flow->count--;
}

uint64_t vs_flow_finish(const struct vs_flow *flow, uint64_t now)
{
    if (flow->estimate == 0)
        return flow->anchor;
    return vs_max(now, vs_plus(flow->anchor, flow->estimate));
}
