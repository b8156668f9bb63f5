// Stands in for cuDNN's calls that do one operation each; every one is a kernel of that name.
//
// They are declared without cuDNN's header, since only the handle is read (see blas.cpp), and what
// follows it differs between versions. No operation needs room beside its images.
//
// Source: cuDNN backend API, "cudnn_cnn Library", "cudnn_ops Library".
#include <cstddef>

#include "libraries.h"
#include "log.h"

using fake::dnn_kernel;

API int cudnnConvolutionForward(void* handle) {
  return dnn_kernel(handle, "convolution forward");
}

API int cudnnConvolutionBackwardData(void* handle) {
  return dnn_kernel(handle, "convolution backward data");
}

API int cudnnConvolutionBackwardFilter(void* handle) {
  return dnn_kernel(handle, "convolution backward filter");
}

API int cudnnBatchNormalizationForwardTrainingEx(void* handle) {
  return dnn_kernel(handle, "batch norm forward");
}

API int cudnnBatchNormalizationForwardInference(void* handle) {
  return dnn_kernel(handle, "batch norm inference");
}

API int cudnnBatchNormalizationBackwardEx(void* handle) {
  return dnn_kernel(handle, "batch norm backward");
}

static int no_room(size_t* bytes) {
  *bytes = 0;
  return 0;
}

API int cudnnGetConvolutionForwardWorkspaceSize(void*, void*, void*, void*, void*, int,
                                                size_t* bytes) {
  return no_room(bytes);
}

API int cudnnGetConvolutionBackwardDataWorkspaceSize(void*, void*, void*, void*, void*, int,
                                                     size_t* bytes) {
  return no_room(bytes);
}

API int cudnnGetConvolutionBackwardFilterWorkspaceSize(void*, void*, void*, void*, void*, int,
                                                       size_t* bytes) {
  return no_room(bytes);
}

API int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void*, int, int, void*, void*,
                                                                 void*, void*, void*,
                                                                 size_t* bytes) {
  return no_room(bytes);
}

API int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void*, int, int, void*, void*, void*,
                                                          void*, void*, void*, void*,
                                                          size_t* bytes) {
  return no_room(bytes);
}

API int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void*, int, int, void*, void*,
                                                             size_t* bytes) {
  return no_room(bytes);
}
