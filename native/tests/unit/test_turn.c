/* Turns on a simulated GPU: kernels of given length on virtual time, busy processes time-sliced equally, programs that
 * launch as fast as they can or wait after each launch. Exact, fast, the same on every machine. */
#include "../../src/flow.h"
#include "../../src/turn.h"
#include "check.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define LAUNCH (3500) /* ns that a launch takes its program */
#define QUEUE 1024    /* launches that a driver takes without waiting */
#define PROGRAMS 4
#define KIND 7
#define NEVER UINT64_MAX

/* One process. */
struct program {
    struct vs_windows table; /* cycle 0: it takes no turns */
    unsigned container;
    uint64_t unit;
    bool waits;    /* for each unit before it launches the next */
    uint64_t from, until;
    uint64_t next; /* when it acts again */
    uint64_t left; /* of the unit that runs */
    uint64_t launched, ended;
    uint64_t mark[VS_MARKS], marked, reached; /* how many units each mark closes */
    uint64_t reached_at[VS_MARKS], since;     /* when, as events tell it */
    uint64_t waiting_since, longest_wait, counted; /* counted: ended since `from` */
    struct vs_flow flow;
    struct vs_costs costs;
};

struct machine {
    uint64_t now;
    unsigned count;
    struct program program[PROGRAMS];
    _Atomic uint64_t window[PROGRAMS], wanted[PROGRAMS]; /* by container */
    _Atomic int64_t debt[PROGRAMS];
};

static struct machine machine;

/* Starts anew, at a time like that of a machine that has been up for a while. */
static void start(void)
{
    memset((void *)&machine, 0, sizeof(machine));
    machine.now = 1000 * SECOND;
}

static struct program *add(unsigned container, uint64_t unit, bool waits)
{
    struct program *program = &machine.program[machine.count++];
    *program = (struct program){.container = container, .unit = unit, .waits = waits, .until = NEVER};
    program->next = machine.now;
    return program;
}

/* Gives a program a window of `share` percent that begins at `begin` percent of the cycle. */
static struct program *capped(struct program *program, unsigned begin, unsigned share, uint64_t longest)
{
    uint64_t cycle = vs_cycle(longest);
    program->table = (struct vs_windows){
        .cycle = cycle, .count = 1, .at = {{cycle / 100 * begin, cycle / 100 * (begin + share)}}};
    return program;
}

static uint64_t busy(const struct program *program) { return program->launched - program->ended; }

/* Runs the GPU up to `until`; stops earlier when a unit ends. */
static void run_gpu(uint64_t until)
{
    uint64_t active = 0, first = NEVER;
    for (unsigned i = 0; i < machine.count; i++)
        if (busy(&machine.program[i])) {
            active++;
            first = vs_min(first, machine.program[i].left);
        }
    uint64_t step = active ? vs_min(until - machine.now, first * active) : until - machine.now;
    machine.now += step;
    for (unsigned i = 0; active && i < machine.count; i++) {
        struct program *program = &machine.program[i];
        if (!busy(program))
            continue;
        program->left = vs_minus(program->left, (step + active - 1) / active);
        if (program->left)
            continue;
        program->left = program->unit;
        program->ended++;
        for (uint64_t m = program->reached; m < program->marked; m++)
            if (program->mark[m % VS_MARKS] == program->ended)
                program->reached_at[m % VS_MARKS] = machine.now;
        program->counted += machine.now >= program->from;
        if (program->waits && !busy(program))
            program->next = vs_min(program->next, machine.now + 10 * US);
    }
}

static void see_marks(struct program *program)
{
    while (program->reached < program->marked && program->ended >= program->mark[program->reached % VS_MARKS]) {
        uint64_t at = program->reached_at[program->reached % VS_MARKS];
        vs_flow_done(&program->flow, &program->costs, machine.now, at - program->since);
        program->since = at;
        program->reached++;
    }
}

static void set_mark(struct program *program)
{
    if (!vs_flow_mark(&program->flow))
        return;
    program->reached_at[program->marked % VS_MARKS] = machine.now; /* if all is done already */
    program->mark[program->marked++ % VS_MARKS] = program->launched;
}

static uint64_t finish_of(unsigned container)
{
    uint64_t finish = 0;
    for (unsigned i = 0; i < machine.count; i++)
        if (machine.program[i].container == container)
            finish = vs_max(finish, vs_flow_finish(&machine.program[i].flow, machine.now));
    return finish;
}

/* Whether a program may launch now; sets when it acts again if not. */
static bool has_turn(struct program *program, uint64_t cost)
{
    unsigned c = program->container;
    struct vs_budget budget = {&machine.window[c], &machine.debt[c], &machine.wanted[c]};
    struct vs_turn turn = {.at = machine.now + 500 * US};
    if (cost || program->reached == program->marked)
        turn = vs_turn_ask(&program->table, &budget, machine.now, finish_of(c), cost ? cost : 100 * US);
    if (turn.go)
        return true;
    if (!turn.ahead)
        set_mark(program);
    if (!turn.ahead && program->reached < program->marked)
        turn.at = vs_min(turn.at, machine.now + (busy(program) ? 200 * US : 20 * US));
    program->next = vs_max(turn.at, machine.now + 1);
    if (!program->waiting_since)
        program->waiting_since = machine.now;
    return false;
}

static void act(struct program *program)
{
    see_marks(program);
    if (program->waits && busy(program)) {
        program->next = NEVER;
        return;
    }
    if (busy(program) >= QUEUE) {
        program->next = machine.now + 20 * US;
        return;
    }
    uint64_t cost = vs_cost(&program->costs, KIND);
    if (program->table.cycle && !has_turn(program, cost))
        return;
    if (program->waiting_since)
        program->longest_wait = vs_max(program->longest_wait, machine.now - program->waiting_since);
    program->waiting_since = 0;
    if (!busy(program)) {
        program->left = program->unit;
        program->since = program->reached == program->marked ? machine.now : program->since;
    }
    program->launched++;
    if (vs_flow_launch(&program->flow, machine.now, KIND, cost ? cost : 100 * US, cost != 0))
        set_mark(program);
    program->next = program->waits ? NEVER : machine.now + LAUNCH;
}

static void run(uint64_t time)
{
    uint64_t end = machine.now + time;
    while (machine.now < end) {
        uint64_t next = end;
        for (unsigned i = 0; i < machine.count; i++)
            next = vs_min(next, vs_max(machine.program[i].next, machine.now));
        run_gpu(next);
        for (unsigned i = 0; i < machine.count; i++) {
            if (machine.now >= machine.program[i].until)
                machine.program[i].next = NEVER; /* killed: what it launched still runs */
            else if (machine.program[i].next <= machine.now)
                act(&machine.program[i]);
        }
    }
}

/* Runs for ten seconds after two to settle; hundredths of a percent of what a program of its own would get done. */
static unsigned settled_share(struct program *program)
{
    uint64_t before = program->counted;
    run(10 * SECOND);
    double alone = (double)(10 * SECOND) / (double)(program->unit + (program->waits ? 10 * US : 0));
    return (unsigned)((double)(program->counted - before) / alone * 10000 + 0.5);
}

/* Off by no more than `most` hundredths of a percent. */
#define CHECK_SHARE(found, wanted, most)                                                                              \
    do {                                                                                                              \
        int found_ = (int)(found), wanted_ = (int)(wanted) * 100;                                                     \
        if (found_ < wanted_ - (most) || found_ > wanted_ + (most)) {                                                 \
            fprintf(stderr, "%s:%d: share of %d.%02d %%, wanted %d\n", __FILE__, __LINE__, found_ / 100,              \
                    found_ % 100, wanted_ / 100);                                                                     \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

static const uint64_t units[] = {20 * US, 1 * MS, 5 * MS, 50 * MS};
static const unsigned caps[] = {10, 25, 40, 50, 75};

/* A cap holds for short and long units, launched ahead or one by one. */
static void a_cap_holds(void)
{
    for (unsigned u = 0; u < 4; u++)
        for (unsigned c = 0; c < 5; c++)
            for (unsigned waits = 0; waits < 2; waits++) {
                start();
                struct program *program = capped(add(0, units[u], waits), 0, caps[c], units[u]);
                run(2 * SECOND);
                CHECK_SHARE(settled_share(program), caps[c], 60);
            }
}

/* Two busy tenants get what they were promised, whatever the length of each other's units. */
static void neighbours_do_not_matter(void)
{
    for (unsigned a = 0; a < 4; a++)
        for (unsigned b = 0; b < 4; b++) {
            uint64_t longest = vs_max(units[a], units[b]);
            start();
            struct program *one = capped(add(0, units[a], false), 0, 30, longest);
            capped(add(1, units[b], false), 30, 70, longest);
            run(2 * SECOND);
            CHECK_SHARE(settled_share(one), 30, 300);
        }
}

/* Who has no share uses the rest and takes nothing of a share. */
static void the_rest_is_the_uncapped_tenants(void)
{
    start();
    struct program *promised = capped(add(0, 1 * MS, false), 0, 40, 1 * MS);
    struct program *other = capped(add(1, 1 * MS, false), 40, 60, 1 * MS);
    run(2 * SECOND);
    CHECK_SHARE(settled_share(promised), 40, 200);
    CHECK_SHARE(settled_share(other), 60, 200);
}

/* Two processes of one container have one budget. */
static void processes_share_a_budget(void)
{
    start();
    struct program *one = capped(add(0, 1 * MS, false), 0, 50, 1 * MS);
    struct program *two = capped(add(0, 1 * MS, false), 0, 50, 1 * MS);
    run(2 * SECOND);
    uint64_t before = one->counted + two->counted;
    run(10 * SECOND);
    CHECK_SHARE((one->counted + two->counted - before), 50, 200); /* of 10,000 units of 1 ms */
}

/* A unit longer than its window runs when enough was saved up, and the share still holds. */
static void nothing_starves(void)
{
    start();
    struct program *program = capped(add(0, 200 * MS, false), 0, 10, 1 * MS); /* a cycle of 40 ms */
    run(4 * SECOND);
    uint64_t before = program->counted;
    run(40 * SECOND);
    CHECK(program->counted - before >= 18 && program->counted - before <= 22);
}

/* The longest that a launch waits is what the cycle leaves to others, a unit, and what may be queued ahead. */
static void waits_are_bounded(void)
{
    for (unsigned u = 0; u < 4; u++)
        for (unsigned c = 0; c < 5; c++) {
            start();
            struct program *program = capped(add(0, units[u], false), 0, caps[c], units[u]);
            run(10 * SECOND);
            uint64_t others = program->table.cycle / 100 * (100 - caps[c]);
            CHECK(program->longest_wait <= others + 2 * units[u] + VS_AHEAD);
        }
}

/* A changed share holds from the next cycles on. */
static void a_step_is_followed(void)
{
    start();
    struct program *program = capped(add(0, 1 * MS, false), 0, 25, 1 * MS);
    run(5 * SECOND);
    capped(program, 0, 75, 1 * MS);
    run(80 * MS);
    CHECK_SHARE(settled_share(program), 75, 60);
    capped(program, 0, 10, 1 * MS);
    run(80 * MS);
    CHECK_SHARE(settled_share(program), 10, 60);
}

/* Time in which nothing was asked for is not saved up: after a pause the share is the same. */
static void pauses_save_nothing(void)
{
    start();
    struct program *program = capped(add(0, 1 * MS, false), 0, 25, 1 * MS);
    run(2 * SECOND);
    program->next = machine.now + 20 * SECOND;
    run(20 * SECOND);
    uint64_t before = program->counted;
    run(1 * SECOND);
    CHECK(program->counted - before <= 265);
}

/* A window that was not used, without anything having been refused in it, gives the next ones nothing. */
static void unused_windows_save_nothing(void)
{
    struct vs_windows table;
    for (unsigned later = 1; later <= 3; later++) {
        _Atomic uint64_t window = 0, wanted = 0;
        _Atomic int64_t debt = 0;
        struct vs_budget budget = {&window, &debt, &wanted};
        vs_windows_own(25, 0, &table);
        uint64_t now = 1000 * table.cycle, length = table.at[0].end;
        CHECK(vs_turn_ask(&table, &budget, now, now, length / 10).go);
        now += later * table.cycle;
        CHECK(!vs_turn_ask(&table, &budget, now, 1000 * table.cycle + length / 10, 3 * length).go);
        /* The same after a refusal: what was left then is there, if the next window is used and only then. */
        now += later * table.cycle;
        CHECK(vs_turn_ask(&table, &budget, now, 1000 * table.cycle + length / 10, 3 * length).go == (later == 1));
    }
}

/* A clock that jumps ahead (a stopped virtual machine) while work is under way costs what may be owed, no more. */
static void a_jump_does_not_matter(void)
{
    start();
    struct program *program = capped(add(0, 1 * MS, false), 0, 25, 1 * MS);
    run(2 * SECOND);
    machine.now += 3600 * SECOND;
    run(4 * SECOND + 100 * MS);
    CHECK_SHARE(settled_share(program), 25, 60);
}

/* A process that is killed in the middle of its turn leaves the budget to the others. */
static void the_killed_leave_the_budget(void)
{
    start();
    struct program *one = add(0, 1 * MS, false), *two = capped(add(0, 1 * MS, false), 0, 50, 1 * MS);
    capped(one, 0, 50, 1 * MS);
    one->until = machine.now + 2 * SECOND;
    run(3 * SECOND);
    one->flow = (struct vs_flow){0}; /* its slot is taken back */
    CHECK_SHARE(settled_share(two), 50, 100);
}

/* A tenant with no window at all never starts, and asks again without spinning. */
static void no_window_means_never(void)
{
    struct vs_windows none = {.cycle = 40 * MS};
    _Atomic uint64_t window = 0, wanted = 0;
    _Atomic int64_t debt = 0;
    struct vs_budget budget = {&window, &debt, &wanted};
    struct vs_turn turn = vs_turn_ask(&none, &budget, SECOND, 0, MS);
    CHECK(!turn.go);
    CHECK(turn.at >= SECOND + 10 * MS);
}

/* Whatever the times and sizes: the answer is now, or a moment to come; debts stay within bounds. */
static void any_state_is_survived(void)
{
    uint64_t random = 3;
    _Atomic uint64_t window = 0, wanted = 0;
    _Atomic int64_t debt = 0;
    struct vs_budget budget = {&window, &debt, &wanted};
    struct vs_windows table;
    uint64_t now = SECOND;
    for (int i = 0; i < 300000; i++) {
        if (i % 100 == 0)
            vs_windows_own((unsigned)below(&random, 100) + 1, below(&random, 100 * MS), &table);
        if (i % 5000 == 0)
            atomic_store(&window, next_random(&random));
        now += below(&random, i % 7 ? 1 * MS : 300 * MS);
        struct vs_turn turn = vs_turn_ask(&table, &budget, now, now - 50 * MS + below(&random, 200 * MS),
                                          below(&random, 100 * MS));
        CHECK(turn.go || turn.at > now);
        CHECK(turn.go || turn.at <= now + 2 * table.cycle);
        CHECK(atomic_load(&debt) <= VS_DEBT_MOST && atomic_load(&debt) >= -(int64_t)SECOND);
    }
}

int main(void)
{
    RUN(a_cap_holds);
    RUN(neighbours_do_not_matter);
    RUN(the_rest_is_the_uncapped_tenants);
    RUN(processes_share_a_budget);
    RUN(nothing_starves);
    RUN(waits_are_bounded);
    RUN(a_step_is_followed);
    RUN(pauses_save_nothing);
    RUN(unused_windows_save_nothing);
    RUN(a_jump_does_not_matter);
    RUN(the_killed_leave_the_budget);
    RUN(no_window_means_never);
    RUN(any_state_is_survived);
    return 0;
}
