// Graphs: what a capture took down, and what keeps it launchable.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace fake {

struct UserObject {
  void* pointer;
  cudaHostFn_t destroy;
  unsigned references;
};

// What a launch of it does.
struct Graph {
  uint64_t nodes = 0;
  uint64_t kernels = 0;
  uint64_t copies = 0;
  uint64_t copied_bytes = 0;
  uint64_t memsets = 0;
  std::vector<std::pair<cudaHostFn_t, void*>> functions;
  std::vector<UserObject*> objects;  // that live as long as the graph, each as often as it is here
};

cudaGraphExec_t instantiate(cudaGraph_t graph, int machine_device);
void destroy(Graph* graph);

}  // namespace fake
