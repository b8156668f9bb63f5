// Stands in for the driver, libcuda.so.1: Triton launches its kernels by it, and torch asks it for
// contexts. (libcaffe2_nvrtc.so cannot be loaded unless every function that it links is here.)
//
// Rules kept: as the runtime's, which the driver shares streams, captures and errors with. A device
// has one primary context, whose handle is the device's number plus one.
//
// Source: CUDA Driver API, "Initialization", "Device Management", "Primary Context Management",
// "Module Management", "Execution Control", "Unified Addressing".
#include <cuda.h>
#include <dlfcn.h>

#include <cstring>
#include <string>

#include "device.h"
#include "errors.h"
#include "kernels.h"
#include "log.h"
#include "memory.h"

using namespace fake;

API cudaError_t cudaSetDevice(int device);

static CUresult as_driver(cudaError_t error) {
  // The runtime's error of a configuration is the driver's error of a value.
  if (error == cudaErrorInvalidConfiguration) return CUDA_ERROR_INVALID_VALUE;
  return static_cast<CUresult>(error);
}

// -- devices and contexts -------------------------------------------------------------------------

API CUresult cuInit(unsigned) {
  return visible_devices() ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

API CUresult cuDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return CUDA_SUCCESS;
}

API CUresult cuDeviceGetCount(int* count) {
  *count = visible_devices();
  return CUDA_SUCCESS;
}

API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (ordinal < 0 || ordinal >= visible_devices()) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

API CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice) {
  *value = attribute(which);
  return CUDA_SUCCESS;
}

static CUcontext context_of(CUdevice device) {
  return reinterpret_cast<CUcontext>(static_cast<uintptr_t>(device + 1));
}

API CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* active) {
  *flags = 0;
  *active = 1;
  return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  *context = context_of(device);
  return CUDA_SUCCESS;
}

API CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = context_of(current_device());
  return CUDA_SUCCESS;
}

API CUresult cuCtxSetCurrent(CUcontext context) {
  if (!context) return CUDA_SUCCESS;
  const auto number = static_cast<int>(reinterpret_cast<uintptr_t>(context));
  return as_driver(cudaSetDevice(number - 1));
}

API CUresult cuCtxGetDevice(CUdevice* device) {
  *device = current_device();
  return CUDA_SUCCESS;
}

API CUresult cuCtxSetLimit(CUlimit, size_t) { return CUDA_SUCCESS; }

API CUresult cuCtxGetLimit(size_t* value, CUlimit) {
  *value = 1024;
  return CUDA_SUCCESS;
}

// -- modules and their kernels --------------------------------------------------------------------

static CUresult loaded(CUmodule* module) {
  static char one;
  *module = reinterpret_cast<CUmodule>(&one);
  return CUDA_SUCCESS;
}

API CUresult cuModuleLoad(CUmodule* module, const char*) { return loaded(module); }

API CUresult cuModuleLoadData(CUmodule* module, const void*) { return loaded(module); }

API CUresult cuModuleLoadDataEx(CUmodule* module, const void*, unsigned, CUjit_option*, void**) {
  return loaded(module);
}

API CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }

// The handle of a kernel is its name, kept for good: modules are few.
API CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
  *function = reinterpret_cast<CUfunction>(new std::string(name));
  return CUDA_SUCCESS;
}

API CUresult cuFuncGetAttribute(int* value, CUfunction_attribute which, CUfunction) {
  *value = 0;
  if (which == CU_FUNC_ATTRIBUTE_NUM_REGS) *value = 32;
  if (which == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) {
    *value = attribute(cudaDevAttrMaxThreadsPerBlock);
  }
  return CUDA_SUCCESS;
}

API CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }

API CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int threads,
                                                         size_t) {
  *blocks = attribute(cudaDevAttrMaxThreadsPerMultiProcessor) / (threads ? threads : 1);
  return CUDA_SUCCESS;
}

API CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction, const CUlaunchConfig*) {
  *clusters = attribute(cudaDevAttrMultiProcessorCount) / 2;
  return CUDA_SUCCESS;
}

static CUresult launch_named(CUfunction function, dim3 grid, dim3 block, unsigned shared_bytes,
                             CUstream stream, const char* call) {
  const auto& name = *reinterpret_cast<std::string*>(function);
  return as_driver(launch(name, grid, block, shared_bytes, stream, call));
}

API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                            unsigned block_x, unsigned block_y, unsigned block_z,
                            unsigned shared_bytes, CUstream stream, void**, void**) {
  return launch_named(function, dim3(grid_x, grid_y, grid_z), dim3(block_x, block_y, block_z),
                      shared_bytes, stream, "cuLaunchKernel");
}

API CUresult cuLaunchKernelEx(const CUlaunchConfig* how, CUfunction function, void**, void**) {
  return launch_named(function, dim3(how->gridDimX, how->gridDimY, how->gridDimZ),
                      dim3(how->blockDimX, how->blockDimY, how->blockDimZ), how->sharedMemBytes,
                      how->hStream, "cuLaunchKernelEx");
}

API CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                       unsigned grid_z, unsigned block_x, unsigned block_y,
                                       unsigned block_z, unsigned shared_bytes, CUstream stream,
                                       void**) {
  return launch_named(function, dim3(grid_x, grid_y, grid_z), dim3(block_x, block_y, block_z),
                      shared_bytes, stream, "cuLaunchCooperativeKernel");
}

// -- pointers -------------------------------------------------------------------------------------

// Triton asks for the address on the device, which is the same.
API CUresult cuPointerGetAttribute(void* value, CUpointer_attribute, CUdeviceptr pointer) {
  if (!on_device(reinterpret_cast<void*>(pointer))) return CUDA_ERROR_INVALID_VALUE;
  *static_cast<CUdeviceptr*>(value) = pointer;
  return CUDA_SUCCESS;
}

// -- what is looked up, and not to be had here ----------------------------------------------------

static CUresult unsupported() { return CUDA_ERROR_NOT_SUPPORTED; }

// NVRTC, with which torch compiles some kernels at their first use, goes without the driver's tables,
// but calls this unchecked where there is a driver.
API CUresult cuGetExportTable(const void** table, const CUuuid*) {
  *table = nullptr;
  return unsupported();
}

API CUresult cuLinkCreate_v2(unsigned, CUjit_option*, void**, CUlinkState*) {
  return unsupported();
}

API CUresult cuLinkAddData_v2(CUlinkState, CUjitInputType, void*, size_t, const char*, unsigned,
                              CUjit_option*, void**) {
  return unsupported();
}

API CUresult cuLinkComplete(CUlinkState, void**, size_t*) { return unsupported(); }

API CUresult cuTensorMapEncodeTiled(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*,
                                    const cuuint64_t*, const cuuint64_t*, const cuuint32_t*,
                                    const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                    CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  return unsupported();
}

// torch looks up all of the driver that it might call, at once.
API cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                                 unsigned long long,
                                                 cudaDriverEntryPointQueryResult* found) {
  void* const known = dlsym(RTLD_DEFAULT, name);
  *function = known ? known : reinterpret_cast<void*>(unsupported);
  if (found) *found = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

API cudaError_t cudaProfilerStart() { return cudaSuccess; }

API cudaError_t cudaProfilerStop() { return cudaSuccess; }
