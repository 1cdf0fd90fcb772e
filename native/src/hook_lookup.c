/* cuGetProcAddress: the driver answers exactly what was asked; we put ours in place of the pointer that came back.
 * Names, versions and flags are the driver's to judge: guessing by name hands out functions of other signatures. */
#include "driver.h"
#include "lookup.h"

VS_EXPORT CUresult cuGetProcAddress(const char *symbol, void **pfn, int version, uint64_t flags)
{
    VS_REAL_CUDA(cuGetProcAddress);
    CUresult result = real(symbol, pfn, version, flags);
    if (result == CUDA_SUCCESS && pfn && !vs_passive())
        *pfn = vs_real_substitute(*pfn);
    return result;
}

VS_EXPORT CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, uint64_t flags, int *status)
{
    VS_REAL_CUDA(cuGetProcAddress_v2);
    CUresult result = real(symbol, pfn, version, flags, status);
    if (result == CUDA_SUCCESS && pfn && !vs_passive())
        *pfn = vs_real_substitute(*pfn);
    return result;
}
