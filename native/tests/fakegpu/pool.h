/* Memory pools, as far as graphs and synchronisation need them. */
#ifndef FAKEGPU_POOL_H
#define FAKEGPU_POOL_H

#include "driver.h"

/* Lets every pool of the process return what lies above its release threshold.
 * Called wherever the driver synchronises. */
void pools_settle(void);
/* Returns a RANGE_POOL's memory to its pool. */
void pool_give(const struct fake_range *range);

#endif
