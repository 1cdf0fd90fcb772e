/* Launches in every way there is, on a simulated GPU, and says how much of its time that took.
 *
 *   turns share WAY SECONDS [THREADS] [PHASES]
 *       keeps the GPU busy from THREADS threads, each with a stream of its own. Per phase one line: "share=PERMILLE",
 *       the GPU time of what was done, of the time that passed. Waits for a line between phases, and before the end.
 *   turns capture COUNT     captures COUNT launches while another thread launches all the time, and runs the graph
 *   turns destroyed SECONDS each stream ends right after its launch; prints "share=PERMILLE"
 *   turns recreated SECONDS each context ends after a few launches; prints "share=PERMILLE"
 *   turns pausing COUNT     COUNT times a few launches and then a pause of 0.2 s; prints "done=1"
 *   turns forked            forks in the middle of work; the child tries to launch and ends
 *   turns pair              a kernel that is never done before another, launched after it, has begun
 *   turns lasting           one long kernel; prints "begun", then "end=NS" when it is done
 *   turns few COUNT         COUNT short kernels; prints "end=NS" when they are launched
 *   turns leave             ends with work under way
 *
 * A unit is a kernel of UNIT ns, or a graph of four kernels of a quarter of that. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "turns.h"

#define UNIT UINT64_C(1000000)
#define AHEAD 8 /* units between two waits */
#define MOST_THREADS 16

static const char *way = "kernel";
static _Atomic double until;
static _Atomic uint64_t units;

/* Starts the context of the calling thread and makes it a stream. */
static CUstream new_stream(void)
{
    CUstream made = NULL;
    need(cu.current(context), "context");
    need(cu.stream(&made, 1), "stream");
    return made;
}

static void *keep_busy(void *unused)
{
    CUstream stream = new_stream();
    CUgraphExec graph = strncmp(way, "graph", 5) == 0 ? graph_of(stream, 4) : NULL;
    while (seconds_now() < until) {
        for (int i = 0; i < AHEAD; i++)
            launch(way, stream, graph);
        need(cu.wait(stream), "wait");
        need(cu.wait(NULL), "wait"); /* some ways have no say in the stream */
        atomic_fetch_add(&units, AHEAD);
    }
    return unused;
}

static void phase(double seconds, int threads)
{
    pthread_t thread[MOST_THREADS];
    double start = seconds_now();
    atomic_store(&units, 0);
    until = start + seconds;
    for (int i = 0; i < threads; i++)
        pthread_create(&thread[i], NULL, keep_busy, NULL);
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    report("share", (uint64_t)((double)(atomic_load(&units) * UNIT) / (seconds_now() - start) * 1e-6));
}

static void share(double seconds, int threads, int phases)
{
    do
        phase(seconds, threads > MOST_THREADS ? MOST_THREADS : threads);
    while (wait_for_a_line() && --phases > 0);
}

static void capture(int count)
{
    pthread_t other;
    CUgraph graph = NULL;
    CUgraphExec exec;
    CUstream stream = new_stream();
    until = seconds_now() + 600;
    pthread_create(&other, NULL, keep_busy, NULL);
    while (atomic_load(&units) == 0)
        usleep(1000);
    need(cu.capture(stream, 0), "begin of a capture");
    for (int i = 0; i < count; i++)
        launch("kernel", stream, NULL);
    need(cu.captured(stream, &graph), "end of a capture");
    until = 0;
    pthread_join(other, NULL);
    size_t nodes = 0;
    need(cu.nodes(graph, NULL, &nodes), "nodes");
    need(cu.instantiate(&exec, graph, 0), "instantiation");
    launch("graph", stream, exec);
    need(cu.wait(stream), "wait");
    report("nodes", nodes);
    wait_for_a_line();
}

static void destroyed(double seconds)
{
    double start = seconds_now();
    uint64_t done = 0;
    while (seconds_now() < start + seconds) {
        CUstream stream = new_stream();
        for (int i = 0; i < AHEAD; i++, done++)
            launch("kernel", stream, NULL);
        need(cu.wait(stream), "wait");
        launch("kernel", stream, NULL);
        need(cu.end_stream(stream), "end of a stream");
    }
    report("share", (uint64_t)((double)(done * UNIT) / (seconds_now() - start) * 1e-6));
}

static void recreated(double seconds)
{
    double start = seconds_now();
    uint64_t done = 0;
    while (seconds_now() < start + seconds) {
        CUcontext made;
        CUmodule module;
        need(cu.make_context(&made, 0, 0), "context");
        load_kernels(&module);
        for (int i = 0; i < AHEAD; i++, done++)
            launch("kernel", NULL, NULL);
        need(cu.wait(NULL), "wait");
        need(cu.end_context(made), "end of a context");
    }
    report("share", (uint64_t)((double)(done * UNIT) / (seconds_now() - start) * 1e-6));
}

static void pausing(int count)
{
    CUstream stream = new_stream();
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < AHEAD; k++)
            launch(k % 2 ? "kernel" : "short", stream, NULL);
        need(cu.wait(stream), "wait");
        usleep(200000);
    }
    launch("kernel", stream, NULL);
    report("done", 1);
    wait_for_a_line();
}

static void forked(void)
{
    int status = -1;
    CUstream stream = new_stream();
    for (int i = 0; i < AHEAD; i++)
        launch("kernel", stream, NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(try_launch(stream) == 0 ? 1 : 0); /* a child has no driver; it must not hang either */
    for (int i = 0; i < AHEAD; i++)
        launch("kernel", stream, NULL);
    waitpid(child, &status, 0);
    need(cu.wait(stream), "wait");
    printf("child=%d\n", status);
}

static void pair(void)
{
    CUstream one = new_stream(), other = new_stream();
    launch("long", one, NULL);
    launch("kernel", other, NULL);
    printf("together=%d\n", cu.done(one) != 0);
    need(cu.wait(one), "wait");
}

static void lasting(void)
{
    CUstream stream = new_stream();
    launch("long", stream, NULL);
    printf("begun\n");
    fflush(stdout);
    need(cu.wait(stream), "wait");
    report("end", (uint64_t)(seconds_now() * 1e9));
}

static void few(int count)
{
    CUstream stream = new_stream();
    for (int i = 0; i < count; i++)
        launch("kernel", stream, NULL);
    report("end", (uint64_t)(seconds_now() * 1e9));
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    double number = count > 2 ? atof(arguments[2]) : 0;
    open_driver(UNIT);
    if (strcmp(what, "share") == 0 && count > 3) {
        way = arguments[2];
        share(atof(arguments[3]), count > 4 ? atoi(arguments[4]) : 1, count > 5 ? atoi(arguments[5]) : 1);
    } else if (strcmp(what, "capture") == 0) {
        capture((int)number);
    } else if (strcmp(what, "destroyed") == 0) {
        destroyed(number);
    } else if (strcmp(what, "recreated") == 0) {
        recreated(number);
    } else if (strcmp(what, "pausing") == 0) {
        pausing((int)number);
    } else if (strcmp(what, "forked") == 0) {
        forked();
    } else if (strcmp(what, "pair") == 0) {
        pair();
    } else if (strcmp(what, "lasting") == 0) {
        lasting();
    } else if (strcmp(what, "few") == 0) {
        few((int)number);
    } else if (strcmp(what, "leave") == 0) {
        for (int i = 0; i < 4; i++)
            launch("kernel", new_stream(), NULL);
    } else {
        return fprintf(stderr, "turns: see the head of turns.c\n"), 2;
    }
    return 0;
}
