// What the fake devices did: counts for each device at all times, and every event while a recording
// is on. All other files tell this one; tests/gpu/fake/log.py reads it, and mirrors both structs.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#define API extern "C" __attribute__((visibility("default")))

namespace fake {

// Whoever reads or changes what the devices hold has one of these. It is not held while a stream's
// host functions run, since those may wait for other threads.
class Guard {
 public:
  Guard() : lock_(mutex()) {}

 private:
  static std::recursive_mutex& mutex();
  std::lock_guard<std::recursive_mutex> lock_;
};

struct Event {
  const char* kind;  // kernel, copy, memset, wait, allocate, free, capture, graph, error
  const char* name;  // of the kernel, the direction, the call
  int32_t device;    // as the machine numbers it, whatever CUDA_VISIBLE_DEVICES says
  int32_t captured;  // 1 where a graph took it down, and nothing was done
  uint32_t grid[3];
  uint32_t block[3];
  uint64_t bytes;  // copied, set, allocated; of a kernel its dynamic shared memory
};

struct Counts {
  uint64_t launches;  // by the host: of kernels outside a capture, and of graphs
  uint64_t kernels;   // that the device would have run, those in graphs included
  uint64_t copies;
  uint64_t copied_bytes;
  uint64_t memsets;
  uint64_t waits;  // of the host for the device
  uint64_t errors;
  uint64_t used;  // bytes that are allocated now
  uint64_t peak;  // the most that ever were, since the start or `fake_reset_peak`
  uint64_t streams;
  uint64_t graphs;  // instantiated, and not destroyed
};

constexpr int kMaxDevices = 64;

// The counts of a device of the machine. They lie in a file of their own for each process where
// FAKE_GPU_COUNTS names a folder, so that they outlive a process, however it ends.
Counts& counts(int machine_device);

struct Told {
  int device = 0;
  bool captured = false;
  uint64_t bytes = 0;
  dim3 grid = dim3(0, 0, 0);
  dim3 block = dim3(0, 0, 0);
};

bool recording();
void tell(const char* kind, const std::string& name, const Told& told);

}  // namespace fake
