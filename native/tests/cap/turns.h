/* Kernels and the ways to launch them, for turns.c. */
#ifndef CAP_TURNS_H
#define CAP_TURNS_H

#include <stdint.h>

#include "../../include/cudaapi.h"

struct driver {
    int (*init)(unsigned);
    int (*device)(CUdevice *, int);
    int (*retain)(CUcontext *, CUdevice);
    int (*current)(CUcontext);
    int (*make_context)(CUcontext *, unsigned, CUdevice);
    int (*end_context)(CUcontext);
    int (*load)(CUmodule *, const void *);
    int (*function)(CUfunction *, CUmodule, const char *);
    int (*stream)(CUstream *, unsigned);
    int (*end_stream)(CUstream);
    int (*wait)(CUstream);
    int (*done)(CUstream);
    int (*capture)(CUstream, int);
    int (*captured)(CUstream, CUgraph *);
    int (*nodes)(CUgraph, CUgraphNode *, size_t *);
    int (*instantiate)(CUgraphExec *, CUgraph, uint64_t);
};

extern struct driver cu;
extern CUcontext context;

/* Ends the program unless the driver's answer is 0. */
void need(int result, const char *what);

/* CLOCK_MONOTONIC. */
double seconds_now(void);

/* Prints "name=value" at once. */
void report(const char *name, uint64_t value);

/* Waits for a line on standard input; 0 at its end: nobody wants to know any more. */
int wait_for_a_line(void);

/* Loads the driver, makes a context with kernels of `unit` ns. */
void open_driver(uint64_t unit);

/* Loads the kernels into the current context. */
void load_kernels(CUmodule *module);

/* An executable graph of `kernels` launches that last a unit together. */
CUgraphExec graph_of(CUstream stream, int kernels);

/* Launches a unit by a way: kernel, cooperative, ex, graph, each also with _ptsz; grid, grid_async, multi; long, or
 * short, a quarter of a unit. Must work. */
void launch(const char *way, CUstream stream, CUgraphExec graph);

/* A launch that may fail: the driver's answer. */
int try_launch(CUstream stream);

#endif
