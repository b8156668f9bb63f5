// Handles of cuBLAS and cuDNN, and the kernels that the libraries launch.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "kernels.h"

namespace fake {

struct Handle {
  cudaStream_t stream = nullptr;
};

// A call of a library counts as one kernel, of a block of one thread: how it would be cut is the
// library's own affair.
inline bool launch_of_library(const std::string& name, cudaStream_t stream) {
  return launch(name, dim3(1), dim3(1), 0, stream, name.c_str()) == cudaSuccess;
}

// For cudnn_calls.cpp; returns a cudnnStatus_t.
int dnn_kernel(void* handle, const char* name);

}  // namespace fake
