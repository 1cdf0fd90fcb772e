/* When a tenant may use a GPU: windows that recur with a cycle, on CLOCK_MONOTONIC. Pure: text and times in, times
 * out.
 *
 * The node's agent publishes one timetable per GPU, a text file that every container can read:
 *
 *     format 1
 *     epoch 0                        a moment at which a cycle began, ns
 *     cycle 40000000                 its length, ns
 *     window 3f2a/worker 0 10000000  a tenant's window: start within the cycle, length
 *     rest 10000000 30000000         what is left for tenants without a share
 *
 * A tenant is named by the token `tenant=` of its allocation line. Windows do not overlap, so that whatever runs in
 * one is its tenant's own GPU time. A table stays valid for ever: a dead agent stops nobody. */
#ifndef VRAMSHARE_WINDOWS_H
#define VRAMSHARE_WINDOWS_H

#include "base.h"

#define VS_WINDOWS 16
#define VS_CYCLE_SHORTEST (UINT64_C(40) * 1000 * 1000)
#define VS_CYCLE_LONGEST (UINT64_C(1000) * 1000 * 1000)
#define VS_CYCLE_UNITS 20 /* a cycle is at least so many of the longest units of work, while VS_CYCLE_LONGEST allows */

struct vs_span {
    uint64_t start, end;
};

struct vs_windows {
    uint64_t epoch, cycle; /* cycle 0: no table */
    unsigned count;        /* 0: this tenant never has a turn */
    struct vs_span at[VS_WINDOWS]; /* within the cycle, in order, not overlapping, end <= cycle */
};

/* Reads a tenant's windows out of a timetable; with `tenant` NULL those of `rest`. False, with `out` unchanged: the
 * text is no timetable, or has no window of this tenant. */
bool vs_windows_parse(const char *text, size_t size, const char *tenant, struct vs_windows *out);

/* A table of one's own, where nobody publishes one: one window of `cores` percent per cycle. */
void vs_windows_own(unsigned cores, uint64_t longest_unit, struct vs_windows *out);

/* The cycle that suits a longest unit of work: VS_CYCLE_SHORTEST doubled until it holds VS_CYCLE_UNITS of them. */
uint64_t vs_cycle(uint64_t longest_unit);

/* The window that contains `now`, else the next one, in absolute times. False: there is none. */
bool vs_windows_at(const struct vs_windows *table, uint64_t now, struct vs_span *out);

/* How much window time lies in [from, to). */
uint64_t vs_windows_time(const struct vs_windows *table, uint64_t from, uint64_t to);

#endif
