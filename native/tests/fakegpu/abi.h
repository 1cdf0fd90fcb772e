/* The part of the CUDA driver's binary interface that the fake driver answers.
 *
 * Written from the public interface so that no toolkit is needed. It is kept
 * apart from the interposer's own header on purpose: a mistake in one then
 * shows as a failing test instead of agreeing with itself. */
#ifndef FAKEGPU_ABI_H
#define FAKEGPU_ABI_H

#include <stddef.h>
#include <stdint.h>

#define API __attribute__((visibility("default")))

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct fake_context *CUcontext;
typedef struct fake_stream *CUstream;
typedef struct fake_event *CUevent;
typedef struct fake_module *CUmodule;
typedef struct fake_function *CUfunction;
typedef struct fake_module *CUlibrary;
typedef struct fake_function *CUkernel;
typedef struct fake_array *CUarray;
typedef struct fake_array *CUmipmappedArray;
typedef struct fake_pool *CUmemoryPool;
typedef struct fake_graph *CUgraph;
typedef struct fake_node *CUgraphNode;
typedef struct fake_exec *CUgraphExec;
typedef struct fake_context *CUgreenCtx;
typedef struct fake_external *CUexternalMemory;
typedef unsigned long long CUmemGenericAllocationHandle;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_UNSUPPORTED_LIMIT = 215,
    CUDA_ERROR_FILE_NOT_FOUND = 301,
    CUDA_ERROR_OPERATING_SYSTEM = 304,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_ILLEGAL_STATE = 401,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE = 708,
    CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
    CUDA_ERROR_NOT_SUPPORTED = 801,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
    CUDA_ERROR_CAPTURED_EVENT = 907,
    CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
};

typedef struct { char bytes[16]; } CUuuid;

#endif
