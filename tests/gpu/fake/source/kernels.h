// Launches of kernels, whoever asks for them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

namespace fake {

// Counts a launch, or has a capture take it down. `launched` is set to whether it is done now.
cudaError_t launch(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, const char* call, bool* launched = nullptr);

}  // namespace fake
