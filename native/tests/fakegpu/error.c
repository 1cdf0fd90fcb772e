/* Names and texts of result codes, and the driver's version. */
#include "driver.h"

static const struct { CUresult code; const char *name, *text; } errors[] = {
#define ERROR(code, name, text) {code, "CUDA_" #name, text},
#include "errors.def"
#undef ERROR
};

/* The row of a code; NULL for a code that does not exist. */
static const char *error_field(CUresult code, bool name)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code)
            return name ? errors[i].name : errors[i].text;
    return NULL;
}

/* The name of a result code, as in cuda.h. */
API CUresult cuGetErrorName(CUresult error, const char **name)
{
    *name = error_field(error, true);
    return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* A result code in words. */
API CUresult cuGetErrorString(CUresult error, const char **text)
{
    *text = error_field(error, false);
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* The newest CUDA version that the driver serves, 1000 × major + 10 × minor. */
API CUresult cuDriverGetVersion(int *version)
{
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = FAKE_CUDA_VERSION;
    return CUDA_SUCCESS;
}
