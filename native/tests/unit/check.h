/* A test program is a list of functions; each states one behaviour in its name and comment. The first thing that does
 * not hold ends the program with its place. Randomness is a seeded generator: every run does the same. */
#ifndef VRAMSHARE_CHECK_H
#define VRAMSHARE_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                            \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

#define CHECK_IS(found, wanted)                                                                                       \
    do {                                                                                                              \
        uint64_t found_ = (uint64_t)(found), wanted_ = (uint64_t)(wanted);                                            \
        if (found_ != wanted_) {                                                                                      \
            fprintf(stderr, "%s:%d: %s is %" PRIu64 ", not %" PRIu64 "\n", __FILE__, __LINE__, #found, found_,        \
                    wanted_);                                                                                         \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

#define RUN(test) (test(), printf("ok %s\n", #test))

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* xorshift64*: small, and good enough to wander through states. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static inline uint64_t below(uint64_t *state, uint64_t bound) { return next_random(state) % bound; }

/* Table memory that counts, and that can be made to run out. */
static uint64_t memory_out, memory_left = UINT64_MAX;

static inline void *take_counted(size_t bytes)
{
    if (memory_left < bytes)
        return NULL;
    memory_left -= bytes;
    memory_out += bytes;
    return calloc(1, bytes);
}

static inline void give_counted(void *memory, size_t bytes)
{
    memory_left += bytes;
    memory_out -= bytes;
    free(memory);
}

#endif
