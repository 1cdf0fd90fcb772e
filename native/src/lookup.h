/* How dlsym decides: between dlsym.S and real.c. */
#ifndef VRAMSHARE_LOOKUP_H
#define VRAMSHARE_LOOKUP_H

#include "base.h"

/* Two registers' worth, so that the assembler part can read it. */
struct vs_answer {
    void *value;    /* dlsym's result */
    uintptr_t pass; /* not zero: ask the next dlsym instead */
};

__attribute__((visibility("hidden"))) struct vs_answer vs_dlsym(void *handle, const char *name);

static inline uint32_t vs_name_hash(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash ^ hash >> 15;
}

#endif
