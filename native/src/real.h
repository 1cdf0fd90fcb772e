/* The real driver functions, and the names and pointers by which programs find them. Generated from hooks.def. */
#ifndef VRAMSHARE_REAL_H
#define VRAMSHARE_REAL_H

#include "../include/cudaapi.h"
#include "../include/nvmlapi.h"
#include "base.h"

enum vs_library { VS_CUDA, VS_NVML, VS_LIBRARIES };

/* A pointer per row of hooks.def, typed by its prototype, in the order of enum vs_id. NULL: not found (yet). */
struct vs_reals {
#define CUDA(name, base, since) __typeof__(&name) name;
#define NVML(name) __typeof__(&name) name;
#define CUDA_USED(name) __typeof__(&name) name;
#define NVML_USED(name) __typeof__(&name) name;
#include "hooks.def"
#undef CUDA
#undef NVML
#undef CUDA_USED
#undef NVML_USED
};

enum vs_id {
#define CUDA(name, base, since) VS_ID_##name,
#define NVML(name) VS_ID_##name,
#define CUDA_USED(name) VS_ID_##name,
#define NVML_USED(name) VS_ID_##name,
#include "hooks.def"
#undef CUDA
#undef NVML
#undef CUDA_USED
#undef NVML_USED
    VS_IDS,
};

_Static_assert(sizeof(struct vs_reals) == VS_IDS * sizeof(void *), "one pointer per row");

extern struct vs_reals vs_real;

/* Looks for the libraries again and returns the pointer of one row, NULL if there is none. */
void *vs_real_late(enum vs_id id);

/* The real function, looked up on first use; NULL if this driver has none. */
#define VS_REAL(name)                                                                                                 \
    (VS_LIKELY(__atomic_load_n(&vs_real.name, __ATOMIC_RELAXED) != NULL) ? vs_real.name                               \
                                                                         : (__typeof__(&name))vs_real_late(VS_ID_##name))

/* In a hook: declares `real`, or returns that the driver is not there. */
#define VS_REAL_CUDA(name)                                                                                            \
    __typeof__(&name) real = VS_REAL(name);                                                                           \
    if (VS_UNLIKELY(!real))                                                                                           \
    return CUDA_ERROR_NOT_INITIALIZED
#define VS_REAL_NVML(name)                                                                                            \
    __typeof__(&name) real = VS_REAL(name);                                                                           \
    if (VS_UNLIKELY(!real))                                                                                           \
    return NVML_ERROR_FUNCTION_NOT_FOUND

/* Our function in place of a real one, or the pointer itself. */
void *vs_real_substitute(void *pointer);

/* Loads the NVML library if the program has not. False: there is none. */
bool vs_real_open_nvml(void);

#endif
