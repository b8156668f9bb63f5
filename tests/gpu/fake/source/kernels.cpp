// Stands in for the runtime's launches of kernels, and for the registration of kernels that
// compiled programs do when they are loaded. Kernels are counted instead of run, but for one:
// torch's fill of up to a million elements is done, since programs set flags and counters on the
// device, and ask for them later.
//
// Rules kept: a block has 1 to 1024 threads (64 at most along z), a grid at least one block, and at
// most 2^31 - 1, 65535 and 65535 along its axes, shared memory at most 227 kB; anything else is
// cudaErrorInvalidConfiguration. Capture takes launches down.
//
// Source: CUDA C++ Programming Guide, "Execution Configuration" and "Compute Capabilities", table
// "Technical Specifications"; CUDA Runtime API, "Execution Control" and "Occupancy". The functions
// that begin with two underscores are declared in the toolkit's crt/host_runtime.h.
#include "kernels.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "device.h"
#include "errors.h"
#include "log.h"
#include "memory.h"
#include "streams.h"

namespace fake {

namespace {

constexpr int kFilled = 1 << 20;  // elements

using Filling = void (*)(void** arguments);

struct Kernel {
  std::string mangled;
  std::string name;  // empty until it is launched
  Filling filling = nullptr;
};

std::unordered_map<const void*, Kernel>& kernels() {
  static auto* const all = new std::unordered_map<const void*, Kernel>;
  return *all;
}

std::string demangled(const std::string& mangled) {
  int status;
  char* const text = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  const std::string found = text ? text : mangled;
  free(text);
  return found;
}

// The arguments of torch's vectorized_elementwise_kernel: a number, the functor, the pointers.
template <class T>
void fill(void** arguments) {
  const int count = *static_cast<int*>(arguments[0]);
  const T value = *static_cast<T*>(arguments[1]);
  T* const first = *static_cast<T**>(arguments[2]);
  if (count > kFilled || !on_device(first)) return;
  for (int i = 0; i < count; i++) first[i] = value;
}

Filling filling_of(const std::string& name) {
  static const std::pair<const char*, Filling> known[] = {
      {"FillFunctor<double>", fill<double>}, {"FillFunctor<float>", fill<float>},
      {"FillFunctor<long>", fill<long>},     {"FillFunctor<int>", fill<int>},
      {"FillFunctor<bool>", fill<bool>},
  };
  if (name.find("vectorized_elementwise_kernel<") == std::string::npos) return nullptr;
  for (const auto& [functor, filling] : known) {
    if (name.find(functor) != std::string::npos) return filling;
  }
  return nullptr;
}

const Kernel& kernel_of(const void* function) {
  Kernel& kernel = kernels()[function];
  if (kernel.name.empty()) {
    kernel.name = kernel.mangled.empty() ? "a kernel that was not registered"
                                         : demangled(kernel.mangled);
    kernel.filling = filling_of(kernel.name);
  }
  return kernel;
}

bool possible(dim3 grid, dim3 block, size_t shared_bytes) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  const uint64_t most_shared = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  return threads > 0 && threads <= 1024 && block.z <= 64 && grid.x > 0 && grid.y > 0 &&
         grid.z > 0 && grid.x <= 2147483647 && grid.y <= 65535 && grid.z <= 65535 &&
         shared_bytes <= most_shared;
}

cudaError_t launch_registered(const void* function, dim3 grid, dim3 block, void** arguments,
                              size_t shared_bytes, cudaStream_t stream, const char* call) {
  Guard guard;
  const Kernel& kernel = kernel_of(function);
  bool launched = false;
  const cudaError_t error = launch(kernel.name, grid, block, shared_bytes, stream, call, &launched);
  if (launched && kernel.filling) kernel.filling(arguments);
  return error;
}

struct Configuration {
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
};

thread_local std::vector<Configuration> configurations;

}  // namespace

cudaError_t launch(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, const char* call, bool* launched) {
  Guard guard;
  if (!possible(grid, block, shared_bytes)) {
    return fail(cudaErrorInvalidConfiguration, call, name);
  }
  const Place place = enqueue_kernel(stream, call);
  if (place.error != cudaSuccess) return place.error;
  Told told = told_at(place, shared_bytes);
  told.grid = grid;
  told.block = block;
  tell("kernel", name, told);
  if (place.graph) {
    place.graph->kernels++;
    return cudaSuccess;
  }
  counts(place.device).launches++;
  counts(place.device).kernels++;
  if (launched) *launched = true;
  return cudaSuccess;
}

}  // namespace fake

using namespace fake;

// -- registration ---------------------------------------------------------------------------------

API void** __cudaRegisterFatBinary(void*) {
  static void* handle[1];
  return handle;
}

API void __cudaRegisterFatBinaryEnd(void**) {}

API void __cudaUnregisterFatBinary(void**) {}

API char __cudaInitModule(void**) { return 1; }

API void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

API void __cudaRegisterFunction(void**, const char* function, char*, const char* name, int, uint3*,
                                uint3*, dim3*, dim3*, int*) {
  Guard guard;
  kernels()[function].mangled = name;
}

// -- launches -------------------------------------------------------------------------------------

API unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes,
                                         struct CUstream_st* stream) {
  configurations.push_back({grid, block, shared_bytes, stream});
  return 0;
}

API cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes,
                                           void* stream) {
  const Configuration last = configurations.back();
  configurations.pop_back();
  *grid = last.grid;
  *block = last.block;
  *shared_bytes = last.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = last.stream;
  return cudaSuccess;
}

// The handle of a kernel is the address of its function on the host.
API cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}

API cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                                   size_t shared_bytes, cudaStream_t stream) {
  return launch_registered(kernel, grid, block, arguments, shared_bytes, stream,
                           "cudaLaunchKernel");
}

API cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                                 size_t shared_bytes, cudaStream_t stream) {
  return launch_registered(function, grid, block, arguments, shared_bytes, stream,
                           "cudaLaunchKernel");
}

API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* how, const void* function,
                                    void** arguments) {
  return launch_registered(function, how->gridDim, how->blockDim, arguments,
                           how->dynamicSmemBytes, how->stream, "cudaLaunchKernelExC");
}

// -- what a kernel needs --------------------------------------------------------------------------

API cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  memset(attributes, 0, sizeof *attributes);
  attributes->maxThreadsPerBlock = attribute(cudaDevAttrMaxThreadsPerBlock);
  attributes->maxDynamicSharedSizeBytes = attribute(cudaDevAttrMaxSharedMemoryPerBlock);
  attributes->numRegs = 32;
  attributes->binaryVersion = attributes->ptxVersion = 90;
  return cudaSuccess;
}

API cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*,
                                                                       int threads, size_t,
                                                                       unsigned) {
  *blocks = attribute(cudaDevAttrMaxThreadsPerMultiProcessor) / (threads ? threads : 1);
  return cudaSuccess;
}
