/* Whose turn it is: holds a container's launches to its windows. Pure: takes times and sizes, never waits.
 *
 * The unit of work is a kernel or a graph; it cannot be interrupted once it is launched. So a unit is started when
 * more than half of it fits into what is left of the window, and what it overruns is owed: the next window ends
 * earlier by as much. What was left because the next unit did not fit is saved up, and the next window ends later.
 * Over many windows the error is that of one unit, not of one unit per window.
 *
 * One budget per container and GPU, in words that all its processes share: `window` is the end of the latest window
 * that was entered, `debt` the GPU time owed (positive) or saved up (negative) in it. Whoever first asks in a new
 * window settles the last one. There is no lock; a process that is killed in between costs one window's rounding. */
#ifndef VRAMSHARE_TURN_H
#define VRAMSHARE_TURN_H

#include "windows.h"

/* ns owed at most: a clock that jumps, or one monstrous unit, does not stop a tenant for long. A unit that overruns its
 * window by more than this is not held to its share exactly. */
#define VS_DEBT_MOST (INT64_C(1000) * 1000 * 1000)

struct vs_budget {
    _Atomic uint64_t *window; /* end of the latest window entered; 0: none yet */
    _Atomic int64_t *debt;
    _Atomic uint64_t *wanted; /* end of the latest window in which a unit was refused for lack of room */
};

/* ns of work that a container has queued at most, or one unit if that is longer: enough to keep the GPU busy while the
 * program sleeps, and little enough that a launch late in a window does not wait for work that was queued early. */
#define VS_AHEAD (UINT64_C(4) * 1000 * 1000)

struct vs_turn {
    bool go;
    bool ahead;  /* if not `go`: there is room, but enough is queued for now */
    uint64_t at; /* if not `go`: when to ask again. Asking earlier pays if launched work ends early. */
};

/* May a unit start now?
 *
 *   table   this tenant's windows
 *   finish  when the GPU will have done all that the container has launched, as far as is known
 *   cost    how long the unit will run, as far as is known */
struct vs_turn vs_turn_ask(const struct vs_windows *table, const struct vs_budget *budget, uint64_t now,
                           uint64_t finish, uint64_t cost);

#endif
