// Errors: every call that refuses something passes through `fail`.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace fake {

// Notes that `call` returns this error, and why, for cudaGetLastError and the log.
cudaError_t fail(cudaError_t error, const std::string& call, const std::string& why = "");

}  // namespace fake
