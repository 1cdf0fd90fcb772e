/* One allocation path: how to take one more piece, and how to return it. */
#ifndef PATHS_TAKE_H
#define PATHS_TAKE_H

#include <stdbool.h>

#include "calls.h"

/* What a path works with. */
struct take {
    uint64_t chunk;      /* bytes to take a step */
    int device;
    void *stream;
    unsigned steps;      /* steps that succeeded */
    uint64_t extra;      /* a path's own memory between steps */
    void *handle;
};

/* Something taken: up to two values, as the path needs them to return it. */
struct piece { uint64_t a, b; };

struct path {
    const char *name;
    /* Takes one more piece. Returns the driver's result; `piece` counts on success. */
    int (*step)(struct take *take, struct piece *piece);
    /* Returns a piece. */
    void (*undo)(struct take *take, struct piece piece);
    /* Runs once before the first step; NULL: nothing to do. */
    int (*begin)(struct take *take);
    /* Runs once after the refusal, before anybody looks; NULL: nothing to do. */
    int (*last)(struct take *take);
    /* Runs once after everything was returned; NULL: nothing to do. */
    void (*end)(struct take *take);
    /* Bytes that a step asks for, if not `chunk`: 0 = chunk. */
    uint64_t bytes;
    bool loose;          /* sizes are the driver's choice: no lower bound on use */
    bool shared;         /* steps use the same memory one after the other: only a large one is refused */
};

extern const struct path paths_linear[], paths_pooled[], paths_other[];

#endif
