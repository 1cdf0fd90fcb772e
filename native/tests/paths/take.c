/* Takes device memory by one path until it is refused, and tells what happened.
 *
 *     take --list
 *     take PATH CHUNK WANT
 *
 * Prints "refused code=N steps=S free=B total=B" (or "took …" if WANT bytes came
 * without a refusal), then waits for a line on standard input, so that somebody else
 * can read how much the device has lost. Then it frees everything, checks that memory
 * still works, and prints "healthy" or what failed. */
#define _GNU_SOURCE
#include "take.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct path *const tables[] = {paths_linear, paths_pooled, paths_other};
enum { TABLES = sizeof tables / sizeof *tables };

static const struct path *find(const char *name)
{
    for (int i = 0; i < TABLES; i++)
        for (const struct path *path = tables[i]; path->name; path++)
            if (strcmp(path->name, name) == 0)
                return path;
    return NULL;
}

static int list(void)
{
    for (int i = 0; i < TABLES; i++)
        for (const struct path *path = tables[i]; path->name; path++)
            printf("%s %s\n", path->name, path->shared ? "shared" : path->loose ? "loose" : "exact");
    return 0;
}

/* Ends the program with what failed. */
static void check(int result, const char *what)
{
    if (result != SUCCESS) {
        printf("failed %s code=%d\n", what, result);
        exit(1);
    }
}

static void start(struct take *take)
{
    void *context = NULL;
    if (calls_load() != 0)
        exit(2);
    check(cu.cuInit(0), "cuInit");
    check(cu.cuDeviceGet(&take->device, 0), "cuDeviceGet");
    check(cu.cuDevicePrimaryCtxRetain(&context, take->device), "cuDevicePrimaryCtxRetain");
    check(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
    check(cu.cuStreamCreate(&take->stream, 1), "cuStreamCreate");
}

/* Memory can be taken, written, read and returned. */
static const char *sickness(void)
{
    char out[64] = "", in[64] = "still works";
    dev_t_ptr at = 0;
    if (cu.cuMemAlloc_v2(&at, sizeof in) != SUCCESS)
        return "cuMemAlloc after freeing";
    if (cu.cuMemcpyHtoD_v2(at, in, sizeof in) != SUCCESS ||
        cu.cuMemcpyDtoH_v2(out, at, sizeof out) != SUCCESS)
        return "copies";
    if (strcmp(in, out) != 0)
        return "contents of a copy";
    return cu.cuMemFree_v2(at) == SUCCESS ? NULL : "cuMemFree";
}

/* Takes pieces until refusal, or until `want` bytes. Returns the last result. */
static int take_all(struct take *take, const struct path *path, uint64_t want, struct piece *pieces,
                    uint64_t most)
{
    int result = path->begin ? path->begin(take) : SUCCESS;
    uint64_t bytes = path->bytes ? path->bytes : take->chunk;
    check(result, "begin");
    while (result == SUCCESS && take->steps * bytes < want && take->steps < most) {
        pieces[take->steps] = (struct piece){0};
        result = path->step(take, &pieces[take->steps]);
        if (result == SUCCESS)
            take->steps++;
    }
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return list();
    const struct path *path = argc == 4 ? find(argv[1]) : NULL;
    if (!path) {
        fprintf(stderr, "usage: take --list | take PATH CHUNK WANT (bytes)\n");
        return 2;
    }
    struct take take = {.chunk = strtoull(argv[2], NULL, 10)};
    uint64_t want = strtoull(argv[3], NULL, 10), most = 1u << 24;
    struct piece *pieces = calloc(most, sizeof *pieces);
    size_t unused = 0, total = 0;
    start(&take);
    int result = take_all(&take, path, want, pieces, most);
    if (path->last)
        check(path->last(&take), "what the driver takes late");
    check(cu.cuMemGetInfo_v2(&unused, &total), "cuMemGetInfo");
    printf("%s code=%d steps=%u free=%zu total=%zu\n", result == SUCCESS ? "took" : "refused",
           result, take.steps, unused, total);
    fflush(stdout);
    (void)!getchar();
    while (take.steps > 0)
        path->undo(&take, pieces[--take.steps]);
    if (path->end)
        path->end(&take);
    const char *sick = sickness();
    printf("%s%s\n", sick ? "sick: " : "healthy", sick ? sick : "");
    free(pieces);
    return sick != NULL;
}
