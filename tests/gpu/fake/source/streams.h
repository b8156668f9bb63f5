// Streams, events and captures. Whatever gives a stream work asks `enqueue` first.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "graphs.h"
#include "log.h"

namespace fake {

// How many operations of each stream something comes after, within one capture.
using Progress = std::map<int, int>;

struct Capture {
  uint64_t id;
  cudaStreamCaptureMode mode;
  uint64_t thread;
  bool valid = true;
  bool ended = false;
  std::string why;        // it is not valid
  Progress operations;    // of each stream that joined
  Graph* graph = nullptr;  // what was taken down so far
};

struct Stream {
  int number;  // from 1; legacy streams have negative ones
  int device;  // as the machine numbers it
  bool blocking;
  int priority = 0;
  std::shared_ptr<Capture> capture;  // that is under way in this stream, or none
  Progress after;
};

// The stream of a handle, also of a default one; nullptr for none that is alive.
Stream* find_stream(cudaStream_t handle);

struct Place {
  cudaError_t error;
  Graph* graph;  // that takes the work down, or nullptr where it is done
  int device;    // as the machine numbers it
};

// What is told of work there that concerns so many bytes.
Told told_at(const Place& place, uint64_t bytes);

// Gives a stream work to do, or its capture work to take down.
Place enqueue(cudaStream_t handle, const char* call);

// The same for a kernel, which goes to streams of the current device only.
Place enqueue_kernel(cudaStream_t handle, const char* call);

// Refuses a call that may wait or allocate, where a capture forbids it to this thread.
cudaError_t refuse_unsafe(const char* call);

}  // namespace fake
