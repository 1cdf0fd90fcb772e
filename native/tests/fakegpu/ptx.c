/* Reading PTX text, as far as the simulation needs it: which kernels and which
 * global variables there are, how large the variables are, and how long a
 * kernel runs.
 *
 * A comment in the PTX before the kernel says that:
 *     // fakegpu: ns=20000 ns_per_block=100 code=1048576
 * and how much memory its code takes when it is first launched, as with lazy loading.
 * Without one, FAKEGPU_KERNEL_NS says it, else 20,000 ns. */
#define _GNU_SOURCE
#include "limit.h"
#include "module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t DEFAULT_KERNEL_NS = 20000;

/* Reads `key`'s number out of one line; `fallback` if it has none. */
static uint64_t number_after(const char *line, const char *key, uint64_t fallback)
{
    const char *end = strchrnul(line, '\n');
    const char *at = strstr(line, key);
    return at && at < end ? strtoull(at + strlen(key), NULL, 10) : fallback;
}

/* The last "// fakegpu:" comment before `entry`; NULL if there is none. */
static const char *comment_before(const char *text, const char *entry)
{
    const char *found = NULL;
    for (const char *at = text; (at = strstr(at, "// fakegpu:")) && at < entry; at++)
        found = at;
    return found;
}

/* The place of ".entry NAME" in the text; NULL if there is none. */
static const char *find_entry(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = text; (at = strstr(at, ".entry")) != NULL; at++) {
        const char *word = at + strlen(".entry");
        word += strspn(word, " \t\n");
        if (strncmp(word, name, length) == 0 && strchr(" (\t\n{", word[length]))
            return at;
    }
    return NULL;
}

static uint64_t environment_ns(void)
{
    const char *named = getenv("FAKEGPU_KERNEL_NS");
    return named ? strtoull(named, NULL, 10) : DEFAULT_KERNEL_NS;
}

/* Bytes of ".local … name[N]" between the entry and the next one. */
static uint64_t local_bytes(const char *entry)
{
    const char *end = strstr(entry + 1, ".entry");
    const char *local = strstr(entry, ".local ");
    if (!local || (end && local > end))
        return 0;
    const char *bracket = strchr(local, '[');
    return bracket ? strtoull(bracket + 1, NULL, 10) : 0;
}

struct fake_function *module_function(struct fake_module *module, const char *name)
{
    for (struct fake_function *f = module->functions; f; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f;
    const char *entry = find_entry(module->text, name);
    struct fake_function *function = entry ? calloc(1, sizeof *function) : NULL;
    if (!function)
        return NULL;
    const char *comment = comment_before(module->text, entry);
    snprintf(function->name, sizeof function->name, "%s", name);
    function->module = module;
    function->fixed_ns = environment_ns();
    if (comment) {
        function->fixed_ns = number_after(comment, " ns=", 0);
        function->block_ns = number_after(comment, "ns_per_block=", 0);
        function->code_bytes = number_after(comment, "code=", 0);
    }
    function->local_bytes = local_bytes(entry);
    function->next = module->functions;
    module->functions = function;
    return function;
}

/* Size in bytes of one element of a PTX type such as ".b8" or ".f32". */
static uint64_t type_bytes(const char *type)
{
    return strtoull(type + 2, NULL, 10) / 8;
}

/* Adds the variable of one ".global [.align N] .b8 name[count]" declaration. */
static void add_global(struct fake_module *module, const char *at)
{
    struct module_global *global = calloc(1, sizeof *global);
    char type[16] = "", name[128] = "";
    unsigned long long count = 1;
    const char *word = at + strlen(".global");
    word += strspn(word, " \t");
    if (strncmp(word, ".align", 6) == 0) {
        word += 6 + strspn(word + 6, " \t");
        word += strcspn(word, " \t") + 1;
    }
    int fields = sscanf(word, " %15s %127[A-Za-z0-9_$][%llu", type, name, &count);
    if (!global || fields < 2) {
        free(global);
        return;
    }
    snprintf(global->name, sizeof global->name, "%s", name);
    global->size = type_bytes(type) * count;
    global->next = module->globals;
    module->globals = global;
}

/* Reads all global variables. */
static void read_globals(struct fake_module *module)
{
    for (const char *at = module->text; (at = strstr(at, ".global")) != NULL; at++) {
        /* "ld.global" and the like are instructions. */
        if (at == module->text || strchr(" \t\n", at[-1]))
            add_global(module, at);
    }
}

struct module_global *module_global(const struct fake_module *module, const char *name)
{
    for (struct module_global *global = module->globals; global; global = global->next)
        if (strcmp(global->name, name) == 0)
            return global;
    return NULL;
}

CUresult module_parse(const void *image, struct fake_module **out)
{
    const char *text = image;
    if (!text || !strstr(text, ".version"))
        return CUDA_ERROR_INVALID_IMAGE;
    struct fake_module *module = calloc(1, sizeof *module);
    if (!module)
        return CUDA_ERROR_OUT_OF_MEMORY;
    module->text = strdup(text);
    read_globals(module);
    *out = module;
    return CUDA_SUCCESS;
}

CUresult module_place(struct fake_module *module, struct fake_context *context)
{
    uint64_t bytes = 0;
    if (module->context)
        return CUDA_SUCCESS;
    for (struct module_global *global = module->globals; global; global = global->next)
        bytes += rounded(global->size, 512);
    bytes = rounded(bytes, CHUNK);
    if (strstr(module->text, " malloc") && limit_make_heap(context) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!device_take(context->device, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    module->context = context;
    module->device = context->device;
    module->charged = bytes;
    for (struct module_global *global = module->globals; global; global = global->next) {
        global->start = pages_map(global->size);
        range_add((struct fake_range){.start = global->start, .size = global->size,
                                      .kind = RANGE_GLOBAL, .context = context,
                                      .device = context->device, .owner = module});
    }
    return CUDA_SUCCESS;
}

void module_end(struct fake_module *module)
{
    for (struct module_global *global = module->globals, *next; global; global = next) {
        struct fake_range *range = global->start ? range_at(global->start) : NULL;
        next = global->next;
        if (range)
            range_end(range);
        free(global);
    }
    for (struct fake_function *function = module->functions, *next; function; function = next) {
        next = function->next;
        if (function->loaded)
            device_give(module->device, rounded(function->code_bytes, CHUNK));
        free(function);
    }
    if (module->context)
        device_give(module->device, module->charged);
    free(module->text);
    free(module);
}
