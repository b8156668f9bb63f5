// Stands in for CUDA's errors: their names and words, and the last one of each thread.
//
// Rules kept: cudaGetLastError returns the last error of a call in this host thread, and resets it;
// cudaPeekAtLastError does not reset. (That errors of kernels show in later calls is not needed,
// since no kernel runs.) Numbers of the runtime's errors and of the driver's agree.
//
// Source: CUDA Runtime API, "Error Handling" and "Data types used by CUDA Runtime"; CUDA Driver
// API, "Error Handling".
#include "errors.h"

#include <cuda.h>

#include "device.h"
#include "log.h"

namespace fake {

namespace {

struct Known {
  int number;
  const char* name;
  const char* driver_name;
  const char* words;
};

const Known kKnown[] = {
    {0, "cudaSuccess", "CUDA_SUCCESS", "no error"},
    {1, "cudaErrorInvalidValue", "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {9, "cudaErrorInvalidConfiguration", "CUDA_ERROR_INVALID_VALUE",
     "invalid configuration argument"},
    {100, "cudaErrorNoDevice", "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "cudaErrorInvalidDevice", "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {400, "cudaErrorInvalidResourceHandle", "CUDA_ERROR_INVALID_HANDLE",
     "invalid resource handle"},
    {401, "cudaErrorIllegalState", "CUDA_ERROR_ILLEGAL_STATE",
     "the operation cannot be performed in the present state"},
    {801, "cudaErrorNotSupported", "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {900, "cudaErrorStreamCaptureUnsupported", "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {901, "cudaErrorStreamCaptureInvalidated", "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {902, "cudaErrorStreamCaptureMerge", "CUDA_ERROR_STREAM_CAPTURE_MERGE",
     "operation would result in a merge of separate capture sequences"},
    {903, "cudaErrorStreamCaptureUnmatched", "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "capture was not ended in the same stream as it began"},
    {904, "cudaErrorStreamCaptureUnjoined", "CUDA_ERROR_STREAM_CAPTURE_UNJOINED",
     "capturing stream has unjoined work"},
    {905, "cudaErrorStreamCaptureIsolation", "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
     "dependency created on uncaptured work in another stream"},
    {906, "cudaErrorStreamCaptureImplicit", "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {907, "cudaErrorCapturedEvent", "CUDA_ERROR_CAPTURED_EVENT",
     "operation not permitted on an event last recorded in a capturing stream"},
    {908, "cudaErrorStreamCaptureWrongThread", "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
     "attempt to terminate a thread-local capture sequence from another thread"},
};

const Known& known(int number) {
  static const Known unknown = {999, "cudaErrorUnknown", "CUDA_ERROR_UNKNOWN", "unknown error"};
  for (const Known& one : kKnown) {
    if (one.number == number) return one;
  }
  return unknown;
}

thread_local cudaError_t last = cudaSuccess;

}  // namespace

cudaError_t fail(cudaError_t error, const std::string& call, const std::string& why) {
  Guard guard;
  last = error;
  const int device = machine_device(current_device());
  counts(device).errors++;
  Told told;
  told.device = device;
  tell("error", call + ": " + known(error).name + (why.empty() ? "" : " (" + why + ")"), told);
  return error;
}

}  // namespace fake

API const char* cudaGetErrorName(cudaError_t error) { return fake::known(error).name; }

API const char* cudaGetErrorString(cudaError_t error) { return fake::known(error).words; }

API cudaError_t cudaGetLastError() {
  const cudaError_t error = fake::last;
  fake::last = cudaSuccess;
  return error;
}

API cudaError_t cudaPeekAtLastError() { return fake::last; }

API CUresult cuGetErrorName(CUresult error, const char** name) {
  *name = fake::known(error).driver_name;
  return CUDA_SUCCESS;
}

API CUresult cuGetErrorString(CUresult error, const char** words) {
  *words = fake::known(error).words;
  return CUDA_SUCCESS;
}
