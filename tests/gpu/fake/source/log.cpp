// Stands for nothing of CUDA's: it keeps what the other files tell.
#include "log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <unordered_set>
#include <vector>

namespace fake {

namespace {

bool on = false;

// These, like all that the library keeps, are never destroyed: torch calls it while it exits.
std::vector<Event>& events() {
  static auto* const all = new std::vector<Event>;
  return *all;
}

const char* kept(const std::string& name) {
  static auto* const names = new std::unordered_set<std::string>;
  return names->insert(name).first->c_str();
}

Counts* mapped() {
  const size_t size = kMaxDevices * sizeof(Counts);
  const char* const folder = getenv("FAKE_GPU_COUNTS");
  int file = -1;
  if (folder) {
    const std::string path = std::string(folder) + "/" + std::to_string(getpid());
    file = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || ftruncate(file, size) != 0) abort();
  }
  const int flags = folder ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, file, 0);
  if (memory == MAP_FAILED) abort();
  if (file >= 0) close(file);
  return static_cast<Counts*>(memory);
}

}  // namespace

std::recursive_mutex& Guard::mutex() {
  static auto* const one = new std::recursive_mutex;
  return *one;
}

Counts& counts(int machine_device) {
  static Counts* const all = mapped();
  return all[machine_device];
}

bool recording() { return on; }

void tell(const char* kind, const std::string& name, const Told& told) {
  if (!on) return;
  Guard guard;
  events().push_back({kind,
                      kept(name),
                      told.device,
                      told.captured,
                      {told.grid.x, told.grid.y, told.grid.z},
                      {told.block.x, told.block.y, told.block.z},
                      told.bytes});
}

}  // namespace fake

// Begins a recording anew (1), or ends it (0).
API void fake_record(int wanted) {
  fake::Guard guard;
  if (wanted) fake::events().clear();
  fake::on = wanted != 0;
}

API const fake::Event* fake_events(size_t* count) {
  fake::Guard guard;
  *count = fake::events().size();
  return fake::events().data();
}

API fake::Counts* fake_counts(int machine_device) { return &fake::counts(machine_device); }

API void fake_reset_peak() {
  fake::Guard guard;
  for (int device = 0; device < fake::kMaxDevices; device++) {
    fake::counts(device).peak = fake::counts(device).used;
  }
}
