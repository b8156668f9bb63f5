// The devices: how many there are, which of them this process sees, and what they are like.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

namespace fake {

int machine_devices();         // that the machine has
int visible_devices();         // that this process sees
int machine_device(int seen);  // the machine's number of a device that this process sees
int current_device();          // of this thread, as the process numbers them
size_t total_memory();         // of each device, in bytes
int attribute(int which);      // numbers of the runtime's and the driver's attributes agree
std::string uuid(int machine_device);

}  // namespace fake
