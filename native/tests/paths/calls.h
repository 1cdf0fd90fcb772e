/* Driver calls by dlopen and dlsym, as most programs reach them. The same source
 * runs on the simulated and on a real driver. */
#ifndef PATHS_CALLS_H
#define PATHS_CALLS_H

#include <stddef.h>
#include <stdint.h>

typedef unsigned long long dev_t_ptr;

struct location { int type, id; };
struct pool_properties {
    int type, handles;
    struct location location;
    void *security;
    size_t most;
    unsigned char rest[56];
};
struct allocation_properties {
    int type, handles;
    struct location location;
    void *metadata;
    unsigned char flags[8];
};
struct array_description { size_t width, height; int format; unsigned channels; };
struct array3d_description {
    size_t width, height, depth;
    int format;
    unsigned channels, flags;
};
struct graph_alloc {
    struct pool_properties pool;
    const void *access;
    size_t access_count, size;
    dev_t_ptr pointer;
};

/* A device resource: large enough for every version of the interface. */
struct resource { int type; unsigned char rest[204]; };

enum { SUCCESS = 0, OUT_OF_MEMORY = 2 };

struct calls {
#define CALL(name, parameters) int(*name) parameters;
#include "calls.def"
#undef CALL
};

extern struct calls cu;

/* Loads libcuda.so.1 and fills `cu`. A symbol that this driver lacks stays NULL.
 * Returns 0, or -1 if there is no driver. */
int calls_load(void);

#endif
