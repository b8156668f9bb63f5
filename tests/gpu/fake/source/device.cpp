// Stands in for the runtime's device management: FAKE_GPUS cards (1 unless set), each with the
// numbers of an H100 and FAKE_GPU_BYTES bytes of memory (80 GB unless set).
//
// Rules kept: CUDA_VISIBLE_DEVICES lists indices or UUIDs (or their unambiguous beginnings);
// devices are numbered in the order of the list; the first invalid entry ends it; an empty list, or
// one that names a device twice, leaves none. It is read once, when the process first asks. Without
// a device, calls return cudaErrorNoDevice. The current device is each thread's own, 0 at first.
//
// Source: CUDA C++ Programming Guide, "CUDA Environment Variables" (CUDA_VISIBLE_DEVICES); CUDA
// Runtime API, "Device Management". The numbers: NVIDIA H100 Tensor Core GPU Architecture, and
// Programming Guide, "Compute Capabilities" (9.0).
#include "device.h"

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "errors.h"
#include "log.h"

namespace fake {

namespace {

thread_local int current = 0;

std::vector<std::string> parts(const std::string& list) {
  std::vector<std::string> found;
  size_t begin = 0;
  while (begin <= list.size()) {
    const size_t comma = std::min(list.find(',', begin), list.size());
    found.push_back(list.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return found;
}

// The device that an entry names, or -1.
int named(const std::string& entry) {
  if (entry.compare(0, 4, "GPU-") == 0) {
    int found = -1;
    for (int device = 0; device < machine_devices(); device++) {
      if (uuid(device).compare(0, entry.size(), entry) != 0) continue;
      if (found >= 0) return -1;
      found = device;
    }
    return found;
  }
  if (entry.empty() || !isdigit(static_cast<unsigned char>(entry[0]))) return -1;
  const long device = strtol(entry.c_str(), nullptr, 10);
  return device < machine_devices() ? static_cast<int>(device) : -1;
}

std::vector<int> read_visible() {
  std::vector<int> found;
  const char* const list = getenv("CUDA_VISIBLE_DEVICES");
  if (!list) {
    for (int device = 0; device < machine_devices(); device++) found.push_back(device);
    return found;
  }
  for (const std::string& entry : parts(list)) {
    const int device = named(entry);
    if (device < 0) break;
    for (const int other : found) {
      if (other == device) return {};
    }
    found.push_back(device);
  }
  return found;
}

const std::vector<int>& visible() {
  static const auto* const found = new std::vector<int>(read_visible());
  return *found;
}

cudaError_t checked(int device, const char* call) {
  if (visible().empty()) return fail(cudaErrorNoDevice, call);
  if (device < 0 || device >= visible_devices()) return fail(cudaErrorInvalidDevice, call);
  return cudaSuccess;
}

}  // namespace

int machine_devices() {
  const char* const wanted = getenv("FAKE_GPUS");
  return wanted ? std::min(atoi(wanted), kMaxDevices) : 1;
}

int visible_devices() { return static_cast<int>(visible().size()); }

int machine_device(int seen) { return seen < visible_devices() ? visible()[seen] : 0; }

int current_device() { return current; }

size_t total_memory() {
  const char* const wanted = getenv("FAKE_GPU_BYTES");
  return wanted ? strtoull(wanted, nullptr, 10) : 85029158912ull;
}

std::string uuid(int device) {
  char text[48];
  snprintf(text, sizeof text, "GPU-%08x-fa4e-0000-0000-000000000000", device + 1);
  return text;
}

int attribute(int which) {
  switch (which) {
    case cudaDevAttrMaxThreadsPerBlock: return 1024;
    case cudaDevAttrMaxSharedMemoryPerBlock: return 48 << 10;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return 227 << 10;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return 228 << 10;
    case cudaDevAttrMaxRegistersPerBlock: return 65536;
    case cudaDevAttrMaxRegistersPerMultiprocessor: return 65536;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return 2048;
    case cudaDevAttrMaxBlocksPerMultiprocessor: return 32;
    case cudaDevAttrMultiProcessorCount: return 132;
    case cudaDevAttrWarpSize: return 32;
    case cudaDevAttrComputeCapabilityMajor: return 9;
    case cudaDevAttrComputeCapabilityMinor: return 0;
    case cudaDevAttrClockRate: return 1980000;        // kHz
    case cudaDevAttrMemoryClockRate: return 2619000;  // kHz
    case cudaDevAttrGlobalMemoryBusWidth: return 5120;
    case cudaDevAttrL2CacheSize: return 50 << 20;
    case cudaDevAttrMaxGridDimX: return 2147483647;
    case cudaDevAttrMaxGridDimY: return 65535;
    case cudaDevAttrMaxGridDimZ: return 65535;
    case cudaDevAttrUnifiedAddressing: return 1;
    case cudaDevAttrCooperativeLaunch: return 1;
    default: return 0;
  }
}

}  // namespace fake

using namespace fake;

API cudaError_t cudaGetDeviceCount(int* count) {
  *count = visible_devices();
  return *count ? cudaSuccess : fail(cudaErrorNoDevice, "cudaGetDeviceCount");
}

API cudaError_t cudaGetDevice(int* device) {
  if (visible().empty()) return fail(cudaErrorNoDevice, "cudaGetDevice");
  *device = current;
  return cudaSuccess;
}

API cudaError_t cudaSetDevice(int device) {
  const cudaError_t error = checked(device, "cudaSetDevice");
  if (error == cudaSuccess) current = device;
  return error;
}

API cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

API cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

API cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const cudaError_t error = checked(device, "cudaGetDeviceProperties");
  if (error != cudaSuccess) return error;
  cudaDeviceProp& p = *properties;
  memset(&p, 0, sizeof p);
  strcpy(p.name, "NVIDIA H100 80GB HBM3 (fake)");
  const unsigned number = machine_device(device) + 1;
  const unsigned char bytes[] = {static_cast<unsigned char>(number >> 24),
                                 static_cast<unsigned char>(number >> 16),
                                 static_cast<unsigned char>(number >> 8),
                                 static_cast<unsigned char>(number), 0xfa, 0x4e};
  memcpy(p.uuid.bytes, bytes, sizeof bytes);
  p.pciBusID = number;
  p.totalGlobalMem = total_memory();
  p.totalConstMem = 64 << 10;
  p.major = attribute(cudaDevAttrComputeCapabilityMajor);
  p.minor = attribute(cudaDevAttrComputeCapabilityMinor);
  p.multiProcessorCount = attribute(cudaDevAttrMultiProcessorCount);
  p.warpSize = attribute(cudaDevAttrWarpSize);
  p.maxThreadsPerBlock = attribute(cudaDevAttrMaxThreadsPerBlock);
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = attribute(cudaDevAttrMaxGridDimX);
  p.maxGridSize[1] = attribute(cudaDevAttrMaxGridDimY);
  p.maxGridSize[2] = attribute(cudaDevAttrMaxGridDimZ);
  p.maxThreadsPerMultiProcessor = attribute(cudaDevAttrMaxThreadsPerMultiProcessor);
  p.maxBlocksPerMultiProcessor = attribute(cudaDevAttrMaxBlocksPerMultiprocessor);
  p.regsPerBlock = attribute(cudaDevAttrMaxRegistersPerBlock);
  p.regsPerMultiprocessor = attribute(cudaDevAttrMaxRegistersPerMultiprocessor);
  p.sharedMemPerBlock = attribute(cudaDevAttrMaxSharedMemoryPerBlock);
  p.sharedMemPerBlockOptin = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  p.sharedMemPerMultiprocessor = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  p.reservedSharedMemPerBlock = 1 << 10;
  p.l2CacheSize = attribute(cudaDevAttrL2CacheSize);
  p.persistingL2CacheMaxSize = 32 << 20;
  p.memoryBusWidth = attribute(cudaDevAttrGlobalMemoryBusWidth);
  p.memPitch = 2147483647;
  p.textureAlignment = 512;
  p.asyncEngineCount = 3;
  p.canMapHostMemory = p.concurrentKernels = p.unifiedAddressing = p.managedMemory = 1;
  p.streamPrioritiesSupported = p.cooperativeLaunch = 1;
  return cudaSuccess;
}

API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int device) {
  *value = attribute(which);
  return checked(device, "cudaDeviceGetAttribute");
}

API cudaError_t cudaDeviceGetPCIBusId(char* id, int size, int device) {
  snprintf(id, size, "0000:%02x:00.0", machine_device(device) + 1);
  return checked(device, "cudaDeviceGetPCIBusId");
}

// The cards have no link to each other, so copies between them go through the host.
API cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int) {
  *can = 0;
  return checked(device, "cudaDeviceCanAccessPeer");
}
