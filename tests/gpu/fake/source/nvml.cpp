// Stands in for NVML, libnvidia-ml.so.1, which torch asks for the number of devices without
// starting CUDA. A link of that name leads to this library, so no real card is found by mistake.
//
// Rules kept: NVML counts and numbers all devices of the machine; CUDA_VISIBLE_DEVICES is for its
// callers to honour.
//
// Source: NVML API Reference Guide, "Initialization and Cleanup" and "Device Queries". torch's
// wheels bring no nvml.h; so types are those of the guide. A handle holds the device's number plus
// one.
#include <cstdio>
#include <cstring>

#include "device.h"
#include "log.h"

using Handle = void*;

enum Return { kSuccess = 0, kInvalidArgument = 2, kNotSupported = 3 };

static int number(Handle device) { return static_cast<int>(reinterpret_cast<uintptr_t>(device)); }

API int nvmlInit() { return kSuccess; }

API int nvmlInit_v2() { return kSuccess; }

API int nvmlShutdown() { return kSuccess; }

API int nvmlSystemGetCudaDriverVersion_v2(int* version) {
  *version = CUDART_VERSION;
  return kSuccess;
}

API int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = fake::machine_devices();
  return kSuccess;
}

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle* device) {
  if (index >= static_cast<unsigned>(fake::machine_devices())) return kInvalidArgument;
  *device = reinterpret_cast<Handle>(static_cast<uintptr_t>(index + 1));
  return kSuccess;
}

API int nvmlDeviceGetHandleByPciBusId_v2(const char* id, Handle* device) {
  unsigned domain = 0, bus = 0;
  if (sscanf(id, "%x:%x", &domain, &bus) != 2) return kInvalidArgument;
  return nvmlDeviceGetHandleByIndex_v2(bus - 1, device);
}

API int nvmlDeviceGetUUID(Handle device, char* text, unsigned size) {
  snprintf(text, size, "%s", fake::uuid(number(device) - 1).c_str());
  return kSuccess;
}

// torch lists the processes of a full device; none is known here.
API int nvmlDeviceGetComputeRunningProcesses(Handle, unsigned* count, void*) {
  *count = 0;
  return kSuccess;
}

// torch looks these up, and calls them only where devices are linked.
API int nvmlDeviceGetNvLinkRemoteDeviceType(Handle, unsigned, int*) { return kNotSupported; }

API int nvmlDeviceGetNvLinkRemotePciInfo_v2(Handle, unsigned, void*) { return kNotSupported; }
