/* Lines for people, on standard error: one when a wall refuses for the first time, one when the region cannot be
 * used, and more only if VRAMSHARE_LOG=debug asks. No stdio, no locks, no allocation. */
#ifndef VRAMSHARE_SAY_H
#define VRAMSHARE_SAY_H

#include "base.h"

struct vs_line {
    char text[400];
    size_t length;
};

/* Starts a line with our name. */
void vs_line_start(struct vs_line *line);
void vs_line_text(struct vs_line *line, const char *text);
void vs_line_number(struct vs_line *line, uint64_t number);

/* Bytes as MiB with one decimal. */
void vs_line_size(struct vs_line *line, uint64_t bytes);

/* Ends the line and writes it in one piece. */
void vs_line_say(struct vs_line *line);

/* Whether VRAMSHARE_LOG asks for more than the necessary. */
bool vs_debug(void);

#endif
