/* Limits, as loading and launching put them into effect. */
#ifndef FAKEGPU_LIMIT_H
#define FAKEGPU_LIMIT_H

#include "driver.h"

/* Gives every thread of the context this much stack, or tells why not. */
CUresult limit_stack(struct fake_context *context, uint64_t per_thread);
/* Takes the memory of the device-side heap, unless it is there. */
CUresult limit_make_heap(struct fake_context *context);

#endif
