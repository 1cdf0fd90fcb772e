/* Limits, as the allocation file or the environment states them. Pure: text in, values out.
 *
 * Whatever cannot be read fails closed: that GPU's slice is 0 bytes. */
#ifndef VRAMSHARE_LIMITS_H
#define VRAMSHARE_LIMITS_H

#include "../include/region.h"
#include "base.h"

#define VS_TENANT 128   /* name of a tenant in timetables, with its zero */
#define VS_UUID_TEXT 41 /* "GPU-" and 36 characters and a zero */

struct vs_limit {
    uint8_t uuid[16];
    uint64_t memory; /* bytes behind the wall */
    unsigned cores;  /* percent of GPU time; 0: no cap */
};

struct vs_limits {
    char tenant[VS_TENANT]; /* `tenant=` of a line; empty: none */
    unsigned count;
    struct vs_limit gpu[VS_REGION_GPUS];
};

/* Reads "GPU-" and 32 hexadecimal digits with hyphens anywhere between them. False: not a UUID. */
bool vs_uuid_parse(const char *text, size_t length, uint8_t uuid[16]);

/* The text form, 8-4-4-4-12. */
void vs_uuid_format(const uint8_t uuid[16], char text[VS_UUID_TEXT]);

/* Reads a size: digits, then nothing, k, M, G, T (powers of 1000), Ki, Mi, Gi, Ti (of 1024), or % of
 * `whole` with at most one decimal.
 * False, with `out` unchanged: not a size, too large, or more than 100 %. */
bool vs_size_parse(const char *text, size_t length, uint64_t whole, uint64_t *out);

/* Reads 0..100. */
bool vs_cores_parse(const char *text, size_t length, unsigned *out);

/* Reads the allocation file. Lines that name no GPU are passed over; GPUs beyond VS_REGION_GPUS too (they have no
 * line then, and so a slice of 0). */
void vs_limits_parse(const char *text, size_t size, struct vs_limits *out);

/* The limit of a GPU; NULL: it has no line, its slice is 0. */
const struct vs_limit *vs_limits_find(const struct vs_limits *limits, const uint8_t uuid[16]);

#endif
