/* cuGetProcAddress: from name, version and flags to a function. */
#include "driver.h"

#include <string.h>

#define DECLARE(symbol) extern const char address_of_##symbol[] __asm__(#symbol);
#define SYMBOL(base, since, symbol) DECLARE(symbol)
#define THREADED(base, since, symbol, suffix) DECLARE(symbol) DECLARE(symbol##suffix)
#include "symbols.def"
#undef SYMBOL
#undef THREADED

static const struct entry {
    const char *base;
    int since;
    const void *plain, *threaded; /* threaded: NULL if there is no such form */
} entries[] = {
#define SYMBOL(base, since, symbol) {#base, since, address_of_##symbol, NULL},
#define THREADED(base, since, symbol, suffix)                                                      \
    {#base, since, address_of_##symbol, address_of_##symbol##suffix},
#include "symbols.def"
};

enum { FOUND = 0, NO_SUCH_NAME = 1, TOO_OLD_A_VERSION = 2, WANT_PER_THREAD = 2 };

/* The newest form that a program of `version` knows. */
static int find(const char *name, int version, uint64_t flags, void **function)
{
    const struct entry *best = NULL;
    int status = NO_SUCH_NAME;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        const struct entry *entry = &entries[i];
        if (strcmp(entry->base, name) != 0 || entry->since > FAKE_CUDA_VERSION)
            continue;
        if (status == NO_SUCH_NAME)
            status = TOO_OLD_A_VERSION;
        if (entry->since <= version)
            best = entry;
    }
    *function = NULL;
    if (!best)
        return status;
    bool threaded = (flags & WANT_PER_THREAD) && best->threaded;
    *function = (void *)(uintptr_t)(threaded ? best->threaded : best->plain);
    return FOUND;
}

/* The form of CUDA 12 and later: an unknown name is success with NULL. */
API CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                                 int *status)
{
    if (!name || !function || version > FAKE_CUDA_VERSION)
        return CUDA_ERROR_INVALID_VALUE;
    int found = find(name, version, flags, function);
    if (status)
        *status = found;
    return found == FOUND || status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

/* The form of CUDA 11.3 to 11.8: an unknown name is an error. */
API CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags)
{
    if (!name || !function || version > FAKE_CUDA_VERSION)
        return CUDA_ERROR_INVALID_VALUE;
    return find(name, version, flags, function) == FOUND ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

/* Private tables of the real driver: none here. */
API CUresult cuGetExportTable(const void **table, const void *id)
{
    (void)id;
    if (table)
        *table = NULL;
    return CUDA_ERROR_NOT_FOUND;
}
