// Stands in for the runtime's streams, events and stream capture. No work is ever under way: what
// is enqueued is done at once, or taken down by a capture.
//
// Rules kept, of captures:
// - The legacy stream cannot capture; a stream that captures cannot begin another capture.
// - Where a captured event is waited for, that stream joins the capture. Ending it while work of a
//   joined stream is not behind the first stream is cudaErrorStreamCaptureUnjoined; waiting for
//   another capture's event is cudaErrorStreamCaptureMerge, for an event outside any capture
//   cudaErrorStreamCaptureIsolation.
// - To wait for, or ask about, a capturing stream, a captured event or a device with a capturing
//   stream is an error, and invalidates the capture. So are calls that may wait or allocate, by
//   cudaMalloc's kind, as far as the mode of the capture and of the thread forbids.
// - An invalidated capture refuses more work (cudaErrorStreamCaptureInvalidated), and its end too.
// - Work in the legacy stream while a blocking stream captures is cudaErrorStreamCaptureImplicit.
// - Only the thread that began a capture ends it, unless its mode is relaxed.
// And of streams: kernels go to the current device's streams only; one that is destroyed is gone.
//
// FAKE_GPU_NO_CAPTURE=begin|end|instantiate makes every capture fail there, to test what is done
// without one. It is read at each call.
//
// Source: CUDA C++ Programming Guide, "CUDA Graphs", section "Creating a Graph Using Stream
// Capture" (with "Cross-stream Dependencies and Events", "Prohibited and Unhandled Operations" and
// "Invalidation"), and "Multi-Device System"; CUDA Runtime API, "Stream Management"
// (cudaThreadExchangeStreamCaptureMode says what is unsafe in which mode), "Event Management".
#include "streams.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <unordered_set>
#include <vector>

#include "device.h"
#include "errors.h"
#include "log.h"

namespace fake {

namespace {

struct Marker {  // an event: what it comes after
  std::shared_ptr<Capture> capture;
  bool recorded = false;
  Progress after;
};

template <class T>
std::unordered_set<T*>& alive() {
  static auto* const all = new std::unordered_set<T*>;
  return *all;
}

std::vector<std::shared_ptr<Capture>>& captures() {  // under way
  static auto* const all = new std::vector<std::shared_ptr<Capture>>;
  return *all;
}

thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

uint64_t this_thread() {
  static std::atomic<uint64_t> last{0};
  static thread_local const uint64_t number = ++last;
  return number;
}

Stream* default_stream(bool per_thread) {
  static Stream* const all = [] {
    auto* const made = new Stream[2 * kMaxDevices];
    for (int i = 0; i < 2 * kMaxDevices; i++) {
      made[i].number = -1 - i;
      made[i].device = i / 2;
      made[i].blocking = true;
    }
    return made;
  }();
  return &all[2 * machine_device(current_device()) + per_thread];
}

Marker* marker(cudaEvent_t handle) {
  auto* const found = reinterpret_cast<Marker*>(handle);
  return alive<Marker>().count(found) ? found : nullptr;
}

bool made_to_fail(const char* where) {
  const char* const wanted = getenv("FAKE_GPU_NO_CAPTURE");
  return wanted && strcmp(wanted, where) == 0;
}

void tell_capture(const std::string& what) {
  Told told;
  told.device = machine_device(current_device());
  tell("capture", what, told);
}

void tell_wait(const char* call, int device, bool captured = false) {
  counts(device).waits++;
  Told told;
  told.device = device;
  told.captured = captured;
  tell("wait", call, told);
}

cudaError_t invalidate(Capture& capture, cudaError_t error, const char* call) {
  if (capture.valid) capture.why = call;
  capture.valid = false;
  return fail(error, call, "in a capture");
}

Capture* forbidding() {
  if (thread_mode == cudaStreamCaptureModeRelaxed) return nullptr;
  for (const auto& capture : captures()) {
    if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (capture->thread == this_thread()) return capture.get();
    if (capture->mode == cudaStreamCaptureModeGlobal &&
        thread_mode == cudaStreamCaptureModeGlobal) {
      return capture.get();
    }
  }
  return nullptr;
}

void merge(Progress& into, const Progress& from) {
  for (const auto& [stream, operations] : from) {
    into[stream] = std::max(into[stream], operations);
  }
}

bool joined(const Capture& capture, const Stream& first) {
  for (const auto& [stream, operations] : capture.operations) {
    const auto found = first.after.find(stream);
    if (operations > (found == first.after.end() ? 0 : found->second)) return false;
  }
  return true;
}

// Takes a capture out of all its streams.
void end(const std::shared_ptr<Capture>& capture) {
  capture->ended = true;
  auto& all = captures();
  all.erase(std::remove(all.begin(), all.end(), capture), all.end());
  for (Stream* const stream : alive<Stream>()) {
    if (stream->capture != capture) continue;
    stream->capture.reset();
    stream->after.clear();
  }
}

cudaError_t outcome(const Capture& capture, const Stream& first) {
  const bool own = capture.thread == this_thread();
  if (!own && capture.mode != cudaStreamCaptureModeRelaxed) {
    return cudaErrorStreamCaptureWrongThread;
  }
  if (!capture.valid || made_to_fail("end")) return cudaErrorStreamCaptureInvalidated;
  return joined(capture, first) ? cudaSuccess : cudaErrorStreamCaptureUnjoined;
}

cudaError_t made_stream(cudaStream_t* handle, bool blocking, int priority) {
  static int last = 0;
  Guard guard;
  auto* const stream = new Stream;
  stream->number = ++last;
  stream->device = machine_device(current_device());
  stream->blocking = blocking;
  stream->priority = priority;
  alive<Stream>().insert(stream);
  counts(stream->device).streams++;
  *handle = reinterpret_cast<cudaStream_t>(stream);
  return cudaSuccess;
}

}  // namespace

Stream* find_stream(cudaStream_t handle) {
  if (!handle || handle == cudaStreamLegacy) return default_stream(false);
  if (handle == cudaStreamPerThread) return default_stream(true);
  auto* const found = reinterpret_cast<Stream*>(handle);
  return alive<Stream>().count(found) ? found : nullptr;
}

Told told_at(const Place& place, uint64_t bytes) {
  Told told;
  told.device = place.device;
  told.captured = place.graph != nullptr;
  told.bytes = bytes;
  return told;
}

Place enqueue(cudaStream_t handle, const char* call) {
  Guard guard;
  const int here = machine_device(current_device());
  Stream* const stream = find_stream(handle);
  if (!stream) return {fail(cudaErrorInvalidResourceHandle, call), nullptr, here};
  if (stream == default_stream(false)) {
    for (Stream* const other : alive<Stream>()) {
      if (!other->capture || !other->blocking) continue;
      const cudaError_t error = invalidate(*other->capture, cudaErrorStreamCaptureImplicit, call);
      return {error, nullptr, here};
    }
  }
  Capture* const capture = stream->capture.get();
  if (!capture) return {cudaSuccess, nullptr, stream->device};
  if (!capture->valid) {
    return {fail(cudaErrorStreamCaptureInvalidated, call, capture->why), nullptr, stream->device};
  }
  stream->after[stream->number] = ++capture->operations[stream->number];
  capture->graph->nodes++;
  return {cudaSuccess, capture->graph, stream->device};
}

Place enqueue_kernel(cudaStream_t handle, const char* call) {
  Guard guard;
  const int here = machine_device(current_device());
  const Stream* const stream = find_stream(handle);
  if (stream && stream->device != here) {
    return {fail(cudaErrorInvalidResourceHandle, call, "another device's stream"), nullptr, here};
  }
  return enqueue(handle, call);
}

cudaError_t refuse_unsafe(const char* call) {
  Guard guard;
  Capture* const capture = forbidding();
  if (!capture) return cudaSuccess;
  return invalidate(*capture, cudaErrorStreamCaptureUnsupported, call);
}

}  // namespace fake

using namespace fake;

// -- streams --------------------------------------------------------------------------------------

API cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned flags, int priority) {
  return made_stream(handle, !(flags & cudaStreamNonBlocking), priority);
}

API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
  return made_stream(handle, !(flags & cudaStreamNonBlocking), 0);
}

API cudaError_t cudaStreamCreate(cudaStream_t* handle) { return made_stream(handle, true, 0); }

API cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  Guard guard;
  Stream* const stream = find_stream(handle);
  if (!stream || stream->number < 0) {
    return fail(cudaErrorInvalidResourceHandle, "cudaStreamDestroy");
  }
  if (stream->capture) stream->capture->valid = false;
  counts(stream->device).streams--;
  alive<Stream>().erase(stream);
  delete stream;
  return cudaSuccess;
}

API cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  Guard guard;
  Stream* const stream = find_stream(handle);
  if (!stream) return fail(cudaErrorInvalidResourceHandle, "cudaStreamGetPriority");
  *priority = stream->priority;
  return cudaSuccess;
}

API cudaError_t cudaStreamQuery(cudaStream_t handle) {
  Guard guard;
  Stream* const stream = find_stream(handle);
  if (!stream) return fail(cudaErrorInvalidResourceHandle, "cudaStreamQuery");
  if (!stream->capture) return cudaSuccess;
  return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported, "cudaStreamQuery");
}

API cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  Guard guard;
  Stream* const stream = find_stream(handle);
  if (!stream) return fail(cudaErrorInvalidResourceHandle, "cudaStreamSynchronize");
  tell_wait("cudaStreamSynchronize", stream->device, stream->capture != nullptr);
  if (!stream->capture) return cudaSuccess;
  return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported, "cudaStreamSynchronize");
}

API cudaError_t cudaDeviceSynchronize() {
  Guard guard;
  const int device = machine_device(current_device());
  tell_wait("cudaDeviceSynchronize", device);
  for (Stream* const stream : alive<Stream>()) {
    if (!stream->capture || stream->device != device) continue;
    return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported,
                      "cudaDeviceSynchronize");
  }
  return cudaSuccess;
}

// -- captures -------------------------------------------------------------------------------------

API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_mode);
  return cudaSuccess;
}

API cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  Guard guard;
  Stream* const stream = find_stream(handle);
  if (!stream) return fail(cudaErrorInvalidResourceHandle, "cudaStreamIsCapturing");
  *status = !stream->capture          ? cudaStreamCaptureStatusNone
            : stream->capture->valid ? cudaStreamCaptureStatusActive
                                     : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

// Dependencies are not told, since no node has a handle.
API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status,
                                         unsigned long long* id, cudaGraph_t* graph,
                                         const cudaGraphNode_t** dependencies,
                                         const cudaGraphEdgeData** edges, size_t* count) {
  Guard guard;
  const cudaError_t error = cudaStreamIsCapturing(handle, status);
  if (error != cudaSuccess) return error;
  const auto& capture = find_stream(handle)->capture;
  if (capture && id) *id = capture->id;
  if (capture && graph) *graph = reinterpret_cast<cudaGraph_t>(capture->graph);
  static cudaGraphNode_t none[1];
  if (dependencies) *dependencies = none;
  if (edges) *edges = nullptr;
  if (count) *count = 0;
  return cudaSuccess;
}

API cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  static uint64_t last = 0;
  const char* const call = "cudaStreamBeginCapture";
  Guard guard;
  Stream* const stream = find_stream(handle);
  if (!stream) return fail(cudaErrorInvalidResourceHandle, call);
  if (stream == default_stream(false)) return fail(cudaErrorStreamCaptureUnsupported, call);
  if (stream->capture) return fail(cudaErrorIllegalState, call);
  if (made_to_fail("begin")) return fail(cudaErrorNotSupported, call, "FAKE_GPU_NO_CAPTURE");
  auto capture = std::make_shared<Capture>();
  capture->id = ++last;
  capture->mode = mode;
  capture->thread = this_thread();
  capture->graph = new Graph;
  stream->capture = capture;
  stream->after.clear();
  captures().push_back(capture);
  tell_capture("begin");
  return cudaSuccess;
}

API cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  const char* const call = "cudaStreamEndCapture";
  Guard guard;
  *graph = nullptr;
  Stream* const stream = find_stream(handle);
  if (!stream) return fail(cudaErrorInvalidResourceHandle, call);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return fail(cudaErrorIllegalState, call);
  const cudaError_t error = outcome(*capture, *stream);
  end(capture);
  tell_capture(error == cudaSuccess ? "end" : "end of an invalid one");
  if (error != cudaSuccess) {
    destroy(capture->graph);
    return fail(error, call, capture->why);
  }
  *graph = reinterpret_cast<cudaGraph_t>(capture->graph);
  return cudaSuccess;
}

API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* launchable, cudaGraph_t graph,
                                              unsigned long long) {
  const char* const call = "cudaGraphInstantiateWithFlags";
  Guard guard;
  if (made_to_fail("instantiate")) return fail(cudaErrorNotSupported, call, "FAKE_GPU_NO_CAPTURE");
  *launchable = instantiate(graph, machine_device(current_device()));
  return cudaSuccess;
}

// -- events ---------------------------------------------------------------------------------------

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* handle, unsigned) {
  Guard guard;
  auto* const made = new Marker;
  alive<Marker>().insert(made);
  *handle = reinterpret_cast<cudaEvent_t>(made);
  return cudaSuccess;
}

API cudaError_t cudaEventCreate(cudaEvent_t* handle) { return cudaEventCreateWithFlags(handle, 0); }

API cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  Guard guard;
  Marker* const event = marker(handle);
  if (!event) return fail(cudaErrorInvalidResourceHandle, "cudaEventDestroy");
  alive<Marker>().erase(event);
  delete event;
  return cudaSuccess;
}

API cudaError_t cudaEventRecordWithFlags(cudaEvent_t handle, cudaStream_t stream_handle, unsigned) {
  Guard guard;
  Marker* const event = marker(handle);
  Stream* const stream = find_stream(stream_handle);
  if (!event || !stream) return fail(cudaErrorInvalidResourceHandle, "cudaEventRecord");
  event->capture = stream->capture;
  event->recorded = true;
  event->after = stream->after;
  return cudaSuccess;
}

API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, 0);
}

API cudaError_t cudaEventQuery(cudaEvent_t handle) {
  Guard guard;
  Marker* const event = marker(handle);
  if (!event) return fail(cudaErrorInvalidResourceHandle, "cudaEventQuery");
  if (event->capture && !event->capture->ended) {
    return invalidate(*event->capture, cudaErrorCapturedEvent, "cudaEventQuery");
  }
  return refuse_unsafe("cudaEventQuery");
}

API cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  Guard guard;
  Marker* const event = marker(handle);
  if (!event) return fail(cudaErrorInvalidResourceHandle, "cudaEventSynchronize");
  const bool captured = event->capture && !event->capture->ended;
  tell_wait("cudaEventSynchronize", machine_device(current_device()), captured);
  if (captured) {
    return invalidate(*event->capture, cudaErrorCapturedEvent, "cudaEventSynchronize");
  }
  return refuse_unsafe("cudaEventSynchronize");
}

// No clock runs on the device: a millisecond lies between any two events.
API cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  Guard guard;
  if (!marker(begin) || !marker(end)) {
    return fail(cudaErrorInvalidResourceHandle, "cudaEventElapsedTime");
  }
  *milliseconds = 1;
  return cudaSuccess;
}

API cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t handle, unsigned) {
  const char* const call = "cudaStreamWaitEvent";
  Guard guard;
  Stream* const stream = find_stream(stream_handle);
  Marker* const event = marker(handle);
  if (!stream || !event) return fail(cudaErrorInvalidResourceHandle, call);
  if (!event->recorded) return cudaSuccess;
  const auto capture = event->capture && !event->capture->ended ? event->capture : nullptr;
  if (!capture && !stream->capture) return cudaSuccess;
  if (!capture) return invalidate(*stream->capture, cudaErrorStreamCaptureIsolation, call);
  if (stream == default_stream(false)) {
    return invalidate(*capture, cudaErrorStreamCaptureImplicit, call);
  }
  if (stream->capture && stream->capture != capture) {
    return invalidate(*capture, cudaErrorStreamCaptureMerge, call);
  }
  stream->capture = capture;
  merge(stream->after, event->after);
  return cudaSuccess;
}
