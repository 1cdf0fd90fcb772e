/* Which windows this process has on each GPU: the agent's timetable, or a table of its own. */
#ifndef VRAMSHARE_TURNS_H
#define VRAMSHARE_TURNS_H

#include "state.h"
#include "windows.h"

/* Not 0: this process takes turns on some GPU. */
extern _Atomic int vs_turns_taken;

/* Looks at the limits and the timetables again, a few times a second at most. */
void vs_turns_refresh(struct vs_process *process);

/* This process's windows on a GPU. False: it need not wait there. */
bool vs_turns_of(struct vs_process *process, int gpu, struct vs_windows *out);

#endif
