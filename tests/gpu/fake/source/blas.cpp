// Stands in for cuBLAS and cuBLASLt: a product is one kernel, whose name gives its sizes.
//
// Rules kept: a handle's calls go to the stream that was set last. Descriptors of cuBLASLt hold
// nothing. Of a call only the leading arguments, up to those that are read, are declared: on Linux
// whoever calls also removes the arguments.
//
// Source: cuBLAS library documentation, "cuBLAS Level-2 and Level-3 Function Reference", "BLAS-like
// Extension", "Using the cuBLASLt API".
#include <cstring>
#include <string>

#include "libraries.h"
#include "log.h"

using namespace fake;

namespace {

enum Status { kSuccess = 0, kExecutionFailed = 13 };

int product(void* handle, const char* name, int m, int n, int k, int batch = 1) {
  std::string told = std::string(name) + " m" + std::to_string(m) + " n" + std::to_string(n) +
                     " k" + std::to_string(k);
  if (batch > 1) told += " batch " + std::to_string(batch);
  const auto stream = static_cast<Handle*>(handle)->stream;
  return launch_of_library(told, stream) ? kSuccess : kExecutionFailed;
}

}  // namespace

// -- handles --------------------------------------------------------------------------------------

API int cublasCreate_v2(void** handle) {
  *handle = new Handle;
  return kSuccess;
}

API int cublasDestroy_v2(void* handle) {
  delete static_cast<Handle*>(handle);
  return kSuccess;
}

API int cublasSetStream_v2(void* handle, cudaStream_t stream) {
  static_cast<Handle*>(handle)->stream = stream;
  return kSuccess;
}

API int cublasSetWorkspace_v2(void*, void*, size_t) { return kSuccess; }

API int cublasSetMathMode(void*, int) { return kSuccess; }

API int cublasGetMathMode(void*, int* mode) {
  *mode = 0;
  return kSuccess;
}

API int cublasSetPointerMode_v2(void*, int) { return kSuccess; }

API int cublasGetPointerMode_v2(void*, int* mode) {
  *mode = 0;
  return kSuccess;
}

// -- products -------------------------------------------------------------------------------------

API int cublasSgemm_v2(void* handle, int, int, int m, int n, int k) {
  return product(handle, "cublasSgemm", m, n, k);
}

API int cublasDgemm_v2(void* handle, int, int, int m, int n, int k) {
  return product(handle, "cublasDgemm", m, n, k);
}

API int cublasGemmEx(void* handle, int, int, int m, int n, int k) {
  return product(handle, "cublasGemmEx", m, n, k);
}

API int cublasSgemv_v2(void* handle, int, int m, int n) {
  return product(handle, "cublasSgemv", m, n, 1);
}

API int cublasDgemv_v2(void* handle, int, int m, int n) {
  return product(handle, "cublasDgemv", m, n, 1);
}

API int cublasSgemmStridedBatched(void* handle, int, int, int m, int n, int k, const void*,
                                  const void*, int, long long, const void*, int, long long,
                                  const void*, void*, int, long long, int batch) {
  return product(handle, "cublasSgemmStridedBatched", m, n, k, batch);
}

API int cublasDgemmStridedBatched(void* handle, int, int, int m, int n, int k, const void*,
                                  const void*, int, long long, const void*, int, long long,
                                  const void*, void*, int, long long, int batch) {
  return product(handle, "cublasDgemmStridedBatched", m, n, k, batch);
}

API int cublasGemmStridedBatchedEx(void* handle, int, int, int m, int n, int k, const void*,
                                   const void*, int, int, long long, const void*, int, int,
                                   long long, const void*, void*, int, int, long long, int batch) {
  return product(handle, "cublasGemmStridedBatchedEx", m, n, k, batch);
}

// -- cuBLASLt -------------------------------------------------------------------------------------

API int cublasLtMatmulDescCreate(void** description, int, int) {
  *description = new char;
  return kSuccess;
}

API int cublasLtMatmulDescDestroy(void* description) {
  delete static_cast<char*>(description);
  return kSuccess;
}

API int cublasLtMatmulDescSetAttribute() { return kSuccess; }

API int cublasLtMatrixLayoutCreate(void** layout) {
  *layout = new char;
  return kSuccess;
}

API int cublasLtMatrixLayoutDestroy(void* layout) {
  delete static_cast<char*>(layout);
  return kSuccess;
}

API int cublasLtMatrixLayoutSetAttribute() { return kSuccess; }

API int cublasLtMatmulPreferenceCreate(void** preference) {
  *preference = new char;
  return kSuccess;
}

API int cublasLtMatmulPreferenceDestroy(void* preference) {
  delete static_cast<char*>(preference);
  return kSuccess;
}

API int cublasLtMatmulPreferenceSetAttribute() { return kSuccess; }

API int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int,
                                       void* results, int* count) {
  memset(results, 0, 96);  // a cublasLtMatmulHeuristicResult_t: success, and no workspace
  *count = 1;
  return kSuccess;
}

API int cublasLtMatmul(void*, void*, const void*, const void*, void*, const void*, void*,
                       const void*, const void*, void*, void*, void*, const void*, void*, size_t,
                       cudaStream_t stream) {
  return launch_of_library("cublasLtMatmul", stream) ? kSuccess : kExecutionFailed;
}
