/* Contract in real.h; and the two ways in: by name through dlsym, by pointer through cuGetProcAddress. */
#define _GNU_SOURCE
#include "real.h"

#include "elf.h"
#include "lookup.h"
#include "map.h"
#include "state.h"

#include <dlfcn.h>
#include <string.h>

struct row {
    const char *name;
    const char *base; /* NULL: cuGetProcAddress does not know it */
    int since;
    enum vs_library library;
    void *hook; /* NULL: only called */
};

static const struct row rows[VS_IDS] = {
#define CUDA(name, base, since) {#name, base, since, VS_CUDA, (void *)name},
#define NVML(name) {#name, NULL, 0, VS_NVML, (void *)name},
#define CUDA_USED(name) {#name, NULL, 0, VS_CUDA, NULL},
#define NVML_USED(name) {#name, NULL, 0, VS_NVML, NULL},
#include "hooks.def"
#undef CUDA
#undef NVML
#undef CUDA_USED
#undef NVML_USED
};

static const char *const sonames[VS_LIBRARIES] = {"libcuda.so.1", "libnvidia-ml.so.1"};

struct vs_reals vs_real;
void *vs_next_dlsym; /* where dlsym.S jumps; set before the first jump */

static void *(*next_dlopen)(const char *, int);
static char *(*next_dlerror)(void);
static _Atomic bool loaded[VS_LIBRARIES];
static struct vs_map *_Atomic by_pointer; /* real pointer -> row + 1; never changed once it is here */

static void **real_at(enum vs_id id) { return (void **)&vs_real + id; }

static void *no_dlsym(void *handle, const char *name)
{
    (void)handle, (void)name;
    return NULL;
}

static void *ask(void *handle, const char *name)
{
    return ((void *(*)(void *, const char *))vs_next_dlsym)(handle, name);
}

/* Finds the loader's functions behind us. Safe to race: every thread finds the same. */
static void find_loader(void)
{
    if (VS_LIKELY(__atomic_load_n(&vs_next_dlsym, __ATOMIC_ACQUIRE) != NULL))
        return;
    next_dlopen = (void *(*)(const char *, int))vs_elf_next("dlopen");
    next_dlerror = (char *(*)(void))vs_elf_next("dlerror");
    void *found = vs_elf_next("dlsym");
    __atomic_store_n(&vs_next_dlsym, found ? found : (void *)no_dlsym, __ATOMIC_RELEASE);
}

/* A library's handle; `flags` RTLD_NOLOAD: only if the program has it. Leaves no error for dlerror. */
static void *handle_of(enum vs_library library, int flags)
{
    find_loader();
    void *handle = next_dlopen ? next_dlopen(sonames[library], RTLD_LAZY | flags) : NULL;
    if (!handle && next_dlerror)
        next_dlerror();
    return handle;
}

static void remember(struct vs_map *map, void *pointer, enum vs_id id)
{
    struct vs_entry entry = {.key = (uint64_t)(uintptr_t)pointer, .a = (uint64_t)id + 1};
    if (pointer && !vs_map_find(map, entry.key))
        vs_map_put(map, &vs_pages, &entry);
}

/* Learns the pointers that the driver's own lookup gives for a row, in case they differ from the exported ones. */
static void learn_row(struct vs_map *map, enum vs_id id)
{
    const struct row *row = &rows[id];
    if (!row->base || !*real_at(id))
        return;
    size_t length = strlen(row->name);
    bool per_thread = length > 5 && strcmp(row->name + length - 5, "_ptsz") == 0;
    uint64_t flags = per_thread ? CU_PROC_THREAD_STREAM : CU_PROC_LEGACY_STREAM;
    void *pointer = NULL;
    int status = 0;
    if (vs_real.cuGetProcAddress_v2)
        vs_real.cuGetProcAddress_v2(row->base, &pointer, row->since, flags, &status);
    else if (vs_real.cuGetProcAddress)
        vs_real.cuGetProcAddress(row->base, &pointer, row->since, flags);
    remember(map, pointer, id);
}

/* Makes the table from real pointers to rows. Racing threads make the same; one of them is kept. No lock: a program
 * may fork in the middle of this. */
static void learn_pointers(void)
{
    struct vs_map *made = vs_pages.take(sizeof(*made)), *none = NULL;
    if (!made)
        return;
    /* Every exported pointer first: they are certain, whatever a driver answers for a version. */
    for (int id = 0; id < VS_IDS; id++)
        if (rows[id].library == VS_CUDA && rows[id].hook)
            remember(made, *real_at(id), id);
    for (int id = 0; id < VS_IDS; id++)
        if (rows[id].library == VS_CUDA && rows[id].hook)
            learn_row(made, id);
    if (!atomic_compare_exchange_strong(&by_pointer, &none, made)) {
        vs_map_clear(made, &vs_pages);
        vs_pages.give(made, sizeof(*made));
    }
}

static void fill(enum vs_library library, void *handle)
{
    for (int id = 0; id < VS_IDS; id++)
        if (rows[id].library == library && !__atomic_load_n(real_at(id), __ATOMIC_RELAXED)) {
            void *found = ask(handle, rows[id].name);
            __atomic_store_n(real_at(id), found == rows[id].hook ? NULL : found, __ATOMIC_RELEASE);
        }
    if (library == VS_CUDA && !atomic_load(&by_pointer))
        learn_pointers();
    if (next_dlerror)
        next_dlerror(); /* older drivers lack some names: the program must not see that we asked */
    loaded[library] = true;
}

/* Looks for a library that the program has loaded. */
static bool load(enum vs_library library)
{
    if (VS_LIKELY(loaded[library]))
        return true;
    void *handle = handle_of(library, RTLD_NOLOAD);
    if (handle)
        fill(library, handle);
    return handle != NULL;
}

bool vs_real_open_nvml(void)
{
    if (load(VS_NVML))
        return true;
    void *handle = handle_of(VS_NVML, 0);
    if (handle)
        fill(VS_NVML, handle);
    return handle != NULL;
}

void *vs_real_late(enum vs_id id)
{
    load(rows[id].library);
    return __atomic_load_n(real_at(id), __ATOMIC_ACQUIRE);
}

void *vs_real_substitute(void *pointer)
{
    if (!pointer || !load(VS_CUDA))
        return pointer;
    struct vs_map *map = atomic_load_explicit(&by_pointer, memory_order_acquire);
    struct vs_entry *entry = map ? vs_map_find(map, (uint64_t)(uintptr_t)pointer) : NULL;
    return entry && rows[entry->a - 1].hook ? rows[entry->a - 1].hook : pointer;
}

/* The replaced row of this name, or -1. */
static int row_of(const char *name)
{
    static _Atomic uint8_t filled;
    static _Atomic uint16_t table[1024];
    if (!atomic_load_explicit(&filled, memory_order_acquire)) {
        for (int id = 0; id < VS_IDS; id++) /* racing threads write the same */
            if (rows[id].hook)
                for (uint32_t i = vs_name_hash(rows[id].name);; i++) {
                    uint16_t old = atomic_load(&table[i % 1024]);
                    if (old == id + 1)
                        break;
                    if (old == 0 && atomic_compare_exchange_strong(&table[i % 1024], &old, (uint16_t)(id + 1)))
                        break;
                }
        atomic_store_explicit(&filled, 1, memory_order_release);
    }
    for (uint32_t i = vs_name_hash(name);; i++) {
        uint16_t id = atomic_load_explicit(&table[i % 1024], memory_order_relaxed);
        if (id == 0)
            return -1;
        if (strcmp(rows[id - 1].name, name) == 0)
            return id - 1;
    }
}

/* What to answer for a replaced name that was found at `found` behind an explicit handle. */
static void *in_place_of(int id, void *found)
{
    const struct row *row = &rows[id];
    bool have = load(row->library);
    if (found == row->hook)
        return have ? found : NULL; /* the handle of the whole program leads to us: say what is true without us */
    void *known = __atomic_load_n(real_at(id), __ATOMIC_ACQUIRE);
    if (!known) {
        __atomic_store_n(real_at(id), found, __ATOMIC_RELEASE);
        known = found;
    }
    /* A second copy of the driver is the driver. Another library's function of that name is its own business. */
    return found == known || vs_elf_soname_is(found, row->library == VS_CUDA ? "libcuda.so" : "libnvidia-ml.so")
               ? row->hook
               : found;
}

/* Decides a call of dlsym; see dlsym.S. `pass`: jump on to the next dlsym as if we were not there. */
struct vs_answer vs_dlsym(void *handle, const char *name)
{
    const struct vs_answer pass = {.pass = 1};
    find_loader();
    if (!name || !((name[0] == 'c' && name[1] == 'u') || (name[0] == 'n' && name[1] == 'v')))
        return pass;
    int id = handle == RTLD_NEXT || vs_passive() ? -1 : row_of(name);
    if (id < 0)
        return pass;
    if (handle == RTLD_DEFAULT) {
        /* Our exports are in the global scope of every program: they count only where the driver is. */
        if (load(rows[id].library))
            return pass;
        return (struct vs_answer){.value = ask(RTLD_NEXT, name)};
    }
    void *found = ask(handle, name);
    return (struct vs_answer){.value = found ? in_place_of(id, found) : NULL};
}
