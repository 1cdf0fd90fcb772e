/* The part of the CUDA driver API that the interposer stands in front of, or uses itself.
 *
 * Written by hand so that the build needs no CUDA toolkit. Always the versioned names: the toolkit's own header
 * renames base names by macro, which would hide which entry point is meant. Layouts and signatures are checked
 * against a toolkit header by `make -C native check-prototypes CUDA_INCLUDE=DIR`.
 */
#ifndef VRAMSHARE_CUDAAPI_H
#define VRAMSHARE_CUDAAPI_H

#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef unsigned int CUdeviceptr_v1;
typedef unsigned long long CUmemGenericAllocationHandle;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUlib_st *CUlibrary;
typedef struct CUkern_st *CUkernel;
typedef struct CUfunc_st *CUfunction;
typedef struct CUarray_st *CUarray;
typedef struct CUmipmappedArray_st *CUmipmappedArray;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUmemPoolHandle_st *CUmemoryPool;
typedef struct CUextMemory_st *CUexternalMemory;
typedef struct CUgreenCtx_st *CUgreenCtx;
typedef struct CUdevResourceDesc_st *CUdevResourceDesc;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_NOT_SUPPORTED = 801,
};

enum { /* CUmemLocationType, CUlimit, CUfunction_attribute, CUdevice_attribute: the values used here */
    CU_LOCATION_DEVICE = 1,
    CU_LOCATION_LOCALITY_DOMAIN = 6, /* a part of a device's memory: the lowest byte of `id` is the device */
    CU_ALLOCATION_MANAGED = 2,
    CU_LIMIT_STACK = 0,
    CU_LIMIT_PRINTF = 1,
    CU_LIMIT_HEAP = 2,
    CU_FUNC_LOCAL_BYTES = 3,
    CU_DEV_PROCESSORS = 16,
    CU_DEV_THREADS_PER_PROCESSOR = 39,
    CU_POOL_RESERVED = 5,
    CU_POOL_USED = 7,
    CU_GRAPH_MEM_USED = 0,
    CU_GRAPH_MEM_RESERVED = 2,
    CU_GRAPH_UPLOAD = 2,
    CU_NODE_CHILD_GRAPH = 4,
    CU_NODE_MEM_ALLOC = 10,
    CU_ARRAY_SPARSE = 0x40,
    CU_ARRAY_DEFERRED = 0x80,
    CU_CAPTURE_RELAXED = 2,
    CU_PROC_LEGACY_STREAM = 1,
    CU_PROC_THREAD_STREAM = 2,
};

typedef struct { char bytes[16]; } CUuuid;
typedef struct { char reserved[64]; } CUipcMemHandle;
typedef struct { unsigned char reserved[64]; } CUmemPoolPtrExportData;
typedef struct { int type; int id; } CUmemLocation;

typedef struct {
    int type;
    int requestedHandleTypes;
    CUmemLocation location;
    void *win32HandleMetaData;
    struct { unsigned char compressionType, gpuDirectRDMACapable; unsigned short usage; unsigned char reserved[4]; }
        allocFlags;
} CUmemAllocationProp;

typedef struct {
    int allocType;
    int handleTypes;
    CUmemLocation location;
    void *win32SecurityAttributes;
    size_t maxSize;
    unsigned short usage;
    unsigned char reserved[54];
} CUmemPoolProps;

typedef struct {
    CUmemPoolProps poolProps;
    const void *accessDescs;
    size_t accessDescCount;
    size_t bytesize;
    CUdeviceptr dptr;
} CUDA_MEM_ALLOC_NODE_PARAMS;

typedef struct { size_t Width, Height; int Format; unsigned int NumChannels; } CUDA_ARRAY_DESCRIPTOR;
typedef struct { unsigned int Width, Height; int Format; unsigned int NumChannels; } CUDA_ARRAY_DESCRIPTOR_v1;
typedef struct { size_t Width, Height, Depth; int Format; unsigned int NumChannels, Flags; } CUDA_ARRAY3D_DESCRIPTOR;
typedef struct { unsigned int Width, Height, Depth; int Format; unsigned int NumChannels, Flags; }
    CUDA_ARRAY3D_DESCRIPTOR_v1;
typedef struct { size_t size, alignment; unsigned int reserved[4]; } CUDA_ARRAY_MEMORY_REQUIREMENTS;

typedef struct {
    int type;
    union {
        int fd;
        struct { void *handle; const void *name; } win32;
        const void *nvSciBufObject;
    } handle;
    unsigned long long size;
    unsigned int flags;
    unsigned int reserved[16];
} CUDA_EXTERNAL_MEMORY_HANDLE_DESC;

/* Only the node's type is read here; the rest is passed on. */
typedef struct { int type; int reserved0[3]; long long reserved1[29]; long long reserved2; } CUgraphNodeParams;
typedef struct { unsigned char from_port, to_port, type, reserved[5]; } CUgraphEdgeData;
/* Only passed on; the leading fields are read by the limiter. */
typedef struct {
    unsigned int gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes;
    CUstream hStream;
    void *attrs;
    unsigned int numAttrs;
} CUlaunchConfig;
typedef struct {
    CUfunction function;
    unsigned int gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes;
    CUstream hStream;
    void **kernelParams;
} CUDA_LAUNCH_PARAMS;

#define API extern

/* Looking up, devices, contexts */
API CUresult cuGetProcAddress(const char *symbol, void **pfn, int version, uint64_t flags);
API CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, uint64_t flags, int *status);
API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev);
API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev);
API CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice dev);
API CUresult cuDeviceTotalMem(unsigned int *bytes, CUdevice dev);
API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev);
API CUresult cuCtxGetCurrent(CUcontext *ctx);
API CUresult cuCtxGetDevice(CUdevice *dev);
API CUresult cuCtxPushCurrent_v2(CUcontext ctx);
API CUresult cuCtxPopCurrent_v2(CUcontext *ctx);
API CUresult cuCtxGetLimit(size_t *value, int limit);
API CUresult cuCtxSetLimit(int limit, size_t value);
API CUresult cuCtxCreate(CUcontext *ctx, unsigned int flags, CUdevice dev);
API CUresult cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev);
API CUresult cuCtxCreate_v3(CUcontext *ctx, void *params, int count, unsigned int flags, CUdevice dev);
API CUresult cuCtxCreate_v4(CUcontext *ctx, void *params, unsigned int flags, CUdevice dev);
API CUresult cuGLCtxCreate(CUcontext *ctx, unsigned int flags, CUdevice dev);
API CUresult cuGLCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev);
API CUresult cuVDPAUCtxCreate(CUcontext *ctx, unsigned int flags, CUdevice dev, uint32_t vdpau, void *lookup);
API CUresult cuVDPAUCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev, uint32_t vdpau, void *lookup);
API CUresult cuCtxDestroy(CUcontext ctx);
API CUresult cuCtxDestroy_v2(CUcontext ctx);
API CUresult cuCtxDetach(CUcontext ctx);
API CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active);
API CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev);
API CUresult cuDevicePrimaryCtxRelease(CUdevice dev);
API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev);
API CUresult cuDevicePrimaryCtxReset(CUdevice dev);
API CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev);
API CUresult cuGreenCtxCreate(CUgreenCtx *ctx, CUdevResourceDesc desc, CUdevice dev, unsigned int flags);
API CUresult cuGreenCtxDestroy(CUgreenCtx ctx);

/* Linear memory */
API CUresult cuMemGetInfo(unsigned int *free, unsigned int *total);
API CUresult cuMemGetInfo_v2(size_t *free, size_t *total);
API CUresult cuMemAlloc(CUdeviceptr_v1 *ptr, unsigned int size);
API CUresult cuMemAlloc_v2(CUdeviceptr *ptr, size_t size);
API CUresult cuMemAllocPitch(CUdeviceptr_v1 *ptr, unsigned int *pitch, unsigned int width, unsigned int height,
                             unsigned int element);
API CUresult cuMemAllocPitch_v2(CUdeviceptr *ptr, size_t *pitch, size_t width, size_t height, unsigned int element);
API CUresult cuMemAllocManaged(CUdeviceptr *ptr, size_t size, unsigned int flags);
API CUresult cuMemFree(CUdeviceptr_v1 ptr);
API CUresult cuMemFree_v2(CUdeviceptr ptr);
API CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr ptr);

/* Stream-ordered memory */
API CUresult cuMemAllocAsync(CUdeviceptr *ptr, size_t size, CUstream stream);
API CUresult cuMemAllocAsync_ptsz(CUdeviceptr *ptr, size_t size, CUstream stream);
API CUresult cuMemAllocFromPoolAsync(CUdeviceptr *ptr, size_t size, CUmemoryPool pool, CUstream stream);
API CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *ptr, size_t size, CUmemoryPool pool, CUstream stream);
API CUresult cuMemFreeAsync(CUdeviceptr ptr, CUstream stream);
API CUresult cuMemFreeAsync_ptsz(CUdeviceptr ptr, CUstream stream);
API CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props);
API CUresult cuMemPoolDestroy(CUmemoryPool pool);
API CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep);
API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void *value);
API CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool *pool, void *handle, int type, unsigned long long flags);
API CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData *data, CUdeviceptr ptr);
API CUresult cuMemPoolImportPointer(CUdeviceptr *ptr, CUmemoryPool pool, CUmemPoolPtrExportData *data);
API CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev);
API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice dev);
API CUresult cuMemGetDefaultMemPool(CUmemoryPool *pool, CUmemLocation *location, int type);
API CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, int type);
API CUresult cuStreamIsCapturing(CUstream stream, int *status);
API CUresult cuStreamIsCapturing_ptsz(CUstream stream, int *status);
API CUresult cuStreamGetCtx(CUstream stream, CUcontext *ctx);
API CUresult cuCtxSynchronize(void);
API CUresult cuStreamSynchronize(CUstream stream);
API CUresult cuStreamSynchronize_ptsz(CUstream stream);
API CUresult cuEventSynchronize(CUevent event);
API CUresult cuEventCreate(CUevent *event, unsigned int flags);
API CUresult cuEventDestroy_v2(CUevent event);
API CUresult cuEventRecord(CUevent event, CUstream stream);
API CUresult cuEventQuery(CUevent event);
API CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end);
API CUresult cuStreamDestroy(CUstream stream);
API CUresult cuStreamDestroy_v2(CUstream stream);
API CUresult cuThreadExchangeStreamCaptureMode(int *mode);

/* Virtual memory management */
API CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *prop,
                         unsigned long long flags);
API CUresult cuMemRelease(CUmemGenericAllocationHandle handle);
API CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                      unsigned long long flags);
API CUresult cuMemUnmap(CUdeviceptr ptr, size_t size);
API CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr);
API CUresult cuMemExportToShareableHandle(void *os_handle, CUmemGenericAllocationHandle handle, int type,
                                          unsigned long long flags);
API CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *os_handle, int type);
API CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle);

/* Memory of other processes and APIs */
API CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr ptr);
API CUresult cuIpcOpenMemHandle(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags);
API CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags);
API CUresult cuIpcCloseMemHandle(CUdeviceptr ptr);
API CUresult cuImportExternalMemory(CUexternalMemory *memory, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *desc);
API CUresult cuDestroyExternalMemory(CUexternalMemory memory);

/* Arrays */
API CUresult cuArrayCreate(CUarray *array, const CUDA_ARRAY_DESCRIPTOR_v1 *desc);
API CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *desc);
API CUresult cuArray3DCreate(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR_v1 *desc);
API CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *desc);
API CUresult cuArrayDestroy(CUarray array);
API CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *out, CUarray array, CUdevice dev);
API CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels);
API CUresult cuMipmappedArrayDestroy(CUmipmappedArray array);
API CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *out, CUmipmappedArray array,
                                                   CUdevice dev);

/* Code */
API CUresult cuModuleLoad(CUmodule *module, const char *file);
API CUresult cuModuleLoadData(CUmodule *module, const void *image);
API CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int count, int *options, void **values);
API CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image);
API CUresult cuModuleUnload(CUmodule module);
API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name);
API CUresult cuModuleGetGlobal(CUdeviceptr_v1 *ptr, unsigned int *size, CUmodule module, const char *name);
API CUresult cuModuleGetGlobal_v2(CUdeviceptr *ptr, size_t *size, CUmodule module, const char *name);
API CUresult cuLibraryLoadData(CUlibrary *library, const void *code, int *jit, void **jit_values, unsigned int jits,
                               int *options, void **values, unsigned int count);
API CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *file, int *jit, void **jit_values,
                                   unsigned int jits, int *options, void **values, unsigned int count);
API CUresult cuLibraryUnload(CUlibrary library);
API CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library);
API CUresult cuLibraryGetGlobal(CUdeviceptr *ptr, size_t *size, CUlibrary library, const char *name);
API CUresult cuLibraryGetManaged(CUdeviceptr *ptr, size_t *size, CUlibrary library, const char *name);
API CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel);
API CUresult cuFuncLoad(CUfunction function);
API CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function);

/* Graphs */
API CUresult cuGraphAddMemAllocNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                    CUDA_MEM_ALLOC_NODE_PARAMS *params);
API CUresult cuGraphAddNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                            CUgraphNodeParams *params);
API CUresult cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, const CUgraphEdgeData *edges,
                               size_t count, CUgraphNodeParams *params);
API CUresult cuGraphAddNode_v3(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, const CUgraphEdgeData *edges,
                               size_t count, CUgraphNodeParams *params);
API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count);
API CUresult cuGraphNodeGetType(CUgraphNode node, int *type);
API CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *graph);
API CUresult cuGraphMemAllocNodeGetParams(CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS *params);
API CUresult cuGraphInstantiate(CUgraphExec *exec, CUgraph graph, CUgraphNode *node, char *log, size_t size);
API CUresult cuGraphInstantiate_v2(CUgraphExec *exec, CUgraph graph, CUgraphNode *node, char *log, size_t size);
API CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
API CUresult cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph, void *params);
API CUresult cuGraphInstantiateWithParams_ptsz(CUgraphExec *exec, CUgraph graph, void *params);
API CUresult cuGraphExecDestroy(CUgraphExec exec);
API CUresult cuGraphUpload(CUgraphExec exec, CUstream stream);
API CUresult cuGraphUpload_ptsz(CUgraphExec exec, CUstream stream);
API CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream);
API CUresult cuGraphLaunch_ptsz(CUgraphExec exec, CUstream stream);
API CUresult cuDeviceGetGraphMemAttribute(CUdevice dev, int attribute, void *value);
API CUresult cuDeviceGraphMemTrim(CUdevice dev);

/* Launches */
API CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
                            unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, void **params,
                            void **extra);
API CUresult cuLaunchKernel_ptsz(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
                                 unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, void **params,
                                 void **extra);
API CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **params, void **extra);
API CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig *config, CUfunction f, void **params, void **extra);
API CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                                       unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
                                       CUstream stream, void **params);
API CUresult cuLaunchCooperativeKernel_ptsz(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                                            unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
                                            CUstream stream, void **params);
API CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS *launches, unsigned int count, unsigned int flags);
API CUresult cuLaunch(CUfunction f);
API CUresult cuLaunchGrid(CUfunction f, int width, int height);
API CUresult cuLaunchGridAsync(CUfunction f, int width, int height, CUstream stream);

#undef API
#endif
