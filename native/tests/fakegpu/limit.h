/* The stack limit, as launches raise it. */
#ifndef FAKEGPU_LIMIT_H
#define FAKEGPU_LIMIT_H

#include "driver.h"

/* Gives every thread of the context this much stack, or tells why not. */
CUresult limit_stack(struct fake_context *context, uint64_t per_thread);

#endif
