// Stands in for the runtime's memory management. Memory of a device is host memory that nobody
// touches until it is copied to: a gigabyte costs nothing.
//
// Rules kept: a device gives FAKE_GPU_BYTES in all, and then cudaErrorMemoryAllocation; cudaMalloc
// takes from the current device; allocating and freeing is unsafe in a capture. Copies of up to a
// megabyte are done, and all from and to the host. A copy from or to pageable memory is told as
// such, since the host waits for it or it takes another way; one in a capture would read, at every
// launch, the host memory of that moment. cudaMemcpy waits.
//
// Source: CUDA Runtime API, "Memory Management", "Stream Ordered Memory Allocator", and "API
// synchronization behavior"; CUDA C++ Programming Guide, "Page-Locked Host Memory".
#include "memory.h"

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "device.h"
#include "errors.h"
#include "log.h"
#include "streams.h"

namespace fake {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kDone = 1 << 20;  // bytes: more is not moved within devices

struct Block {
  size_t bytes;
  int device;
};

using Blocks = std::map<uintptr_t, Block>;

Blocks& allocated() {
  static auto* const all = new Blocks;
  return *all;
}

Blocks& pinned() {
  static auto* const all = new Blocks;
  return *all;
}

size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

const Block* holding(const Blocks& blocks, const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  auto next = blocks.upper_bound(address);
  if (next == blocks.begin()) return nullptr;
  --next;
  return address < next->first + next->second.bytes ? &next->second : nullptr;
}

const char* kind(const void* pointer) {
  if (holding(allocated(), pointer)) return "device";
  return holding(pinned(), pointer) ? "pinned" : "pageable";
}

void tell_memory(const char* what, const char* call, const Block& block) {
  Told told;
  told.device = block.device;
  told.bytes = block.bytes;
  tell(what, call, told);
}

cudaError_t allocate(void** pointer, size_t bytes, const char* call) {
  Guard guard;
  *pointer = nullptr;
  const cudaError_t refused = refuse_unsafe(call);
  if (refused != cudaSuccess) return refused;
  if (!bytes) return cudaSuccess;
  const Block block{bytes, machine_device(current_device())};
  Counts& counted = counts(block.device);
  if (counted.used + bytes > total_memory()) {
    return fail(cudaErrorMemoryAllocation, call, std::to_string(bytes) + " bytes");
  }
  void* const found = mmap(nullptr, whole_pages(bytes), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (found == MAP_FAILED) return fail(cudaErrorMemoryAllocation, call, "the host has none");
  allocated()[reinterpret_cast<uintptr_t>(found)] = block;
  counted.used += bytes;
  counted.peak = std::max(counted.peak, counted.used);
  tell_memory("allocate", call, block);
  *pointer = found;
  return cudaSuccess;
}

cudaError_t release(void* pointer, const char* call) {
  Guard guard;
  if (!pointer) return cudaSuccess;
  const cudaError_t refused = refuse_unsafe(call);
  if (refused != cudaSuccess) return refused;
  const auto found = allocated().find(reinterpret_cast<uintptr_t>(pointer));
  if (found == allocated().end()) return fail(cudaErrorInvalidValue, call);
  counts(found->second.device).used -= found->second.bytes;
  tell_memory("free", call, found->second);
  munmap(pointer, whole_pages(found->second.bytes));
  allocated().erase(found);
  return cudaSuccess;
}

cudaError_t copy(void* to, const void* from, size_t bytes, cudaStream_t stream, const char* call) {
  Guard guard;
  const Place place = enqueue(stream, call);
  if (place.error != cudaSuccess) return place.error;
  const Told told = told_at(place, bytes);
  tell("copy", std::string(kind(from)) + " to " + kind(to), told);
  if (place.graph) {
    place.graph->copies++;
    place.graph->copied_bytes += bytes;
    return cudaSuccess;
  }
  counts(place.device).copies++;
  counts(place.device).copied_bytes += bytes;
  const bool within = holding(allocated(), to) && holding(allocated(), from);
  if (!within || bytes <= kDone) memmove(to, from, bytes);
  return cudaSuccess;
}

}  // namespace

bool on_device(const void* pointer) { return holding(allocated(), pointer) != nullptr; }

}  // namespace fake

using namespace fake;

API cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  return allocate(pointer, bytes, "cudaMalloc");
}

API cudaError_t cudaFree(void* pointer) { return release(pointer, "cudaFree"); }

API cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = total_memory();
  *free = *total - counts(machine_device(current_device())).used;
  return cudaSuccess;
}

// -- memory of the host ---------------------------------------------------------------------------

API cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  Guard guard;
  *pointer = aligned_alloc(kPage, whole_pages(bytes ? bytes : 1));
  pinned()[reinterpret_cast<uintptr_t>(*pointer)] = {bytes, 0};
  return cudaSuccess;
}

API cudaError_t cudaFreeHost(void* pointer) {
  Guard guard;
  pinned().erase(reinterpret_cast<uintptr_t>(pointer));
  free(pointer);
  return cudaSuccess;
}

API cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned) {
  Guard guard;
  pinned()[reinterpret_cast<uintptr_t>(pointer)] = {bytes, 0};
  return cudaSuccess;
}

API cudaError_t cudaHostUnregister(void* pointer) {
  Guard guard;
  pinned().erase(reinterpret_cast<uintptr_t>(pointer));
  return cudaSuccess;
}

API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  Guard guard;
  memset(attributes, 0, sizeof *attributes);
  attributes->type = cudaMemoryTypeUnregistered;
  if (holding(pinned(), pointer)) attributes->type = cudaMemoryTypeHost;
  if (const Block* const block = holding(allocated(), pointer)) {
    attributes->type = cudaMemoryTypeDevice;
    for (int seen = 0; seen < visible_devices(); seen++) {
      if (machine_device(seen) == block->device) attributes->device = seen;
    }
  }
  attributes->devicePointer = attributes->hostPointer = const_cast<void*>(pointer);
  return cudaSuccess;
}

// -- copies ---------------------------------------------------------------------------------------

API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                cudaStream_t stream) {
  return copy(to, from, bytes, stream, "cudaMemcpyAsync");
}

API cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes,
                                    cudaStream_t stream) {
  return copy(to, from, bytes, stream, "cudaMemcpyPeerAsync");
}

API cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                                  size_t width, size_t height, cudaMemcpyKind,
                                  cudaStream_t stream) {
  for (size_t row = 0; row < height; row++) {
    void* const to_row = static_cast<char*>(to) + row * to_pitch;
    const void* const from_row = static_cast<const char*>(from) + row * from_pitch;
    const cudaError_t error = copy(to_row, from_row, width, stream, "cudaMemcpy2DAsync");
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

API cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  Guard guard;
  const cudaError_t refused = refuse_unsafe("cudaMemcpy");
  if (refused != cudaSuccess) return refused;
  Told told;
  told.device = machine_device(current_device());
  counts(told.device).waits++;
  tell("wait", "cudaMemcpy", told);
  return copy(to, from, bytes, nullptr, "cudaMemcpy");
}

API cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  Guard guard;
  const Place place = enqueue(stream, "cudaMemsetAsync");
  if (place.error != cudaSuccess) return place.error;
  const Told told = told_at(place, bytes);
  tell("memset", "cudaMemsetAsync", told);
  if (place.graph) {
    place.graph->memsets++;
    return cudaSuccess;
  }
  counts(place.device).memsets++;
  if (bytes <= kDone) memset(pointer, value, bytes);
  return cudaSuccess;
}

API cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  return cudaMemsetAsync(pointer, value, bytes, nullptr);
}

// -- variables of kernels -------------------------------------------------------------------------

// All share one place, since no kernel reads them.
API cudaError_t cudaGetSymbolAddress(void** pointer, const void*) {
  static char place[64 << 10];
  *pointer = place;
  return cudaSuccess;
}

API cudaError_t cudaMemcpyToSymbol(const void*, const void*, size_t, size_t, cudaMemcpyKind) {
  return cudaSuccess;
}
