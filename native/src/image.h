/* What a code image says about the device memory that its globals will take. Pure. */
#ifndef VRAMSHARE_IMAGE_H
#define VRAMSHARE_IMAGE_H

#include "base.h"

/* Bytes of globals in a cubin (an ELF file in memory) or in PTX text; 0 for anything else, for NULL, and for what
 * cannot be read: such images are measured after loading. */
uint64_t vs_image_globals(const void *image);

#endif
