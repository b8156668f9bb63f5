// Stands in for cuDNN where it would ask the device: handles, the choice of an algorithm, and its
// graph interface. Descriptors of tensors, filters and convolutions stay cuDNN's own, which checks
// what is put into them.
//
// Rules kept: a handle's calls go to the stream that was set last. A plan runs what its graph of
// operations holds: here the name of the last operation, which is handed on from descriptor to
// descriptor. One algorithm and one engine can do everything, deterministically.
//
// Source: cuDNN backend API, "cudnn_graph Library", "cudnn_cnn Library".
#include <cudnn.h>

#include <cstring>
#include <string>

#include "libraries.h"
#include "log.h"

using namespace fake;

namespace fake {

int dnn_kernel(void* handle, const char* name) {
  const auto stream = static_cast<Handle*>(handle)->stream;
  const bool launched = launch_of_library(std::string("cudnn ") + name, stream);
  return launched ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

}  // namespace fake

namespace {

constexpr int64_t kWorkspace = 8 << 20;  // bytes

struct Descriptor {
  std::string operation;
};

const char* operation_of(cudnnBackendDescriptorType_t type) {
  switch (type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR: return "convolution forward";
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      return "convolution backward data";
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      return "convolution backward filter";
    default: return "";
  }
}

Descriptor* opened(cudnnBackendDescriptor_t descriptor) {
  return static_cast<Descriptor*>(descriptor);
}

template <class Performance, class Algorithm>
cudnnStatus_t choose(int* count, Performance* found, Algorithm algorithm) {
  memset(found, 0, sizeof *found);
  found->algo = algorithm;
  found->status = CUDNN_STATUS_SUCCESS;
  found->time = 1;
  found->memory = kWorkspace;
  found->determinism = CUDNN_DETERMINISTIC;
  found->mathType = CUDNN_FMA_MATH;
  *count = 1;
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

// -- handles --------------------------------------------------------------------------------------

API cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  *handle = reinterpret_cast<cudnnHandle_t>(new Handle);
  return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  reinterpret_cast<Handle*>(handle)->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  *stream = reinterpret_cast<Handle*>(handle)->stream;
  return CUDNN_STATUS_SUCCESS;
}

// -- the choice of an algorithm -------------------------------------------------------------------

API cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(
    cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnFilterDescriptor_t,
    const cudnnConvolutionDescriptor_t, const cudnnTensorDescriptor_t, int, int* count,
    cudnnConvolutionFwdAlgoPerf_t* found) {
  return choose(count, found, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM);
}

API cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(
    cudnnHandle_t, const cudnnFilterDescriptor_t, const cudnnTensorDescriptor_t,
    const cudnnConvolutionDescriptor_t, const cudnnTensorDescriptor_t, int, int* count,
    cudnnConvolutionBwdDataAlgoPerf_t* found) {
  return choose(count, found, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1);
}

API cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(
    cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t,
    const cudnnConvolutionDescriptor_t, const cudnnFilterDescriptor_t, int, int* count,
    cudnnConvolutionBwdFilterAlgoPerf_t* found) {
  return choose(count, found, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1);
}

// -- the graph interface --------------------------------------------------------------------------

API cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                               cudnnBackendDescriptor_t* descriptor) {
  *descriptor = new Descriptor{operation_of(type)};
  return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete opened(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                           cudnnBackendAttributeName_t,
                                           cudnnBackendAttributeType_t type, int64_t count,
                                           const void* values) {
  if (type != CUDNN_TYPE_BACKEND_DESCRIPTOR) return CUDNN_STATUS_SUCCESS;
  const auto* const others = static_cast<const cudnnBackendDescriptor_t*>(values);
  for (int64_t i = 0; i < count; i++) {
    const std::string& operation = opened(others[i])->operation;
    if (!operation.empty()) opened(descriptor)->operation = operation;
  }
  return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t) { return CUDNN_STATUS_SUCCESS; }

API cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                           cudnnBackendAttributeName_t name,
                                           cudnnBackendAttributeType_t type, int64_t wanted,
                                           int64_t* count, void* values) {
  int64_t found = 0;
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS || name == CUDNN_ATTR_ENGINECFG_ENGINE) {
    found = 1;
    auto* const others = static_cast<cudnnBackendDescriptor_t*>(values);
    if (others && wanted > 0) opened(others[0])->operation = opened(descriptor)->operation;
  } else if (type == CUDNN_TYPE_INT64 && values && wanted > 0) {
    found = 1;
    const bool workspace = name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE;
    *static_cast<int64_t*>(values) = workspace ? kWorkspace : 0;
  }
  if (count) *count = found;
  return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                      cudnnBackendDescriptor_t) {
  return static_cast<cudnnStatus_t>(dnn_kernel(handle, opened(plan)->operation.c_str()));
}
