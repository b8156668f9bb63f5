// Stands in for the runtime's graph management, as far as stream capture needs it.
//
// Rules kept: an instantiated graph is independent of the graph that it was made of; a user object
// lives until the last graph that retains it is destroyed; host functions run at each launch. What
// a launch counts is what was taken down. Memory that a capture used stays allocated by whoever
// allocated it (torch's allocator: a pool for each graph).
//
// Source: CUDA C++ Programming Guide, "CUDA Graphs", with "CUDA User Objects"; CUDA Runtime API,
// "Graph Management".
#include "graphs.h"

#include "device.h"
#include "errors.h"
#include "log.h"
#include "streams.h"

namespace fake {

namespace {

struct Launchable {
  Graph graph;
  int device;
};

void release(UserObject* object, unsigned count) {
  object->references -= count;
  if (object->references > 0) return;
  object->destroy(object->pointer);
  delete object;
}

void tell_graph(const char* what, int device, bool captured = false) {
  Told told;
  told.device = device;
  told.captured = captured;
  tell("graph", what, told);
}

void add(Graph& into, const Graph& from) {
  into.kernels += from.kernels;
  into.copies += from.copies;
  into.copied_bytes += from.copied_bytes;
  into.memsets += from.memsets;
  into.functions.insert(into.functions.end(), from.functions.begin(), from.functions.end());
}

void count(const Graph& graph, Counts& counts) {
  counts.launches++;
  counts.kernels += graph.kernels;
  counts.copies += graph.copies;
  counts.copied_bytes += graph.copied_bytes;
  counts.memsets += graph.memsets;
}

}  // namespace

cudaGraphExec_t instantiate(cudaGraph_t handle, int device) {
  auto* const made = new Launchable{*reinterpret_cast<Graph*>(handle), device};
  for (UserObject* const object : made->graph.objects) object->references++;
  counts(device).graphs++;
  tell_graph("instantiate", device);
  return reinterpret_cast<cudaGraphExec_t>(made);
}

void destroy(Graph* graph) {
  for (UserObject* const object : graph->objects) release(object, 1);
  delete graph;
}

}  // namespace fake

using namespace fake;

API cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = reinterpret_cast<Graph*>(graph)->nodes;
  return cudaSuccess;
}

API cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream) {
  auto* const launched = reinterpret_cast<Launchable*>(handle);
  Place place;
  {
    Guard guard;
    place = enqueue(stream, "cudaGraphLaunch");
    if (place.error != cudaSuccess) return place.error;
    tell_graph("launch", place.device, place.graph != nullptr);
    if (place.graph) {
      add(*place.graph, launched->graph);
      return cudaSuccess;
    }
    count(launched->graph, counts(place.device));
  }
  for (const auto& [function, data] : launched->graph.functions) function(data);
  return cudaSuccess;
}

API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  Guard guard;
  destroy(reinterpret_cast<Graph*>(graph));
  return cudaSuccess;
}

API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t handle) {
  Guard guard;
  auto* const launchable = reinterpret_cast<Launchable*>(handle);
  for (UserObject* const object : launchable->graph.objects) release(object, 1);
  counts(launchable->device).graphs--;
  delete launchable;
  return cudaSuccess;
}

API cudaError_t cudaUserObjectCreate(cudaUserObject_t* object, void* pointer, cudaHostFn_t destroy,
                                     unsigned references, unsigned) {
  *object = reinterpret_cast<cudaUserObject_t>(new UserObject{pointer, destroy, references});
  return cudaSuccess;
}

API cudaError_t cudaUserObjectRelease(cudaUserObject_t object, unsigned count) {
  Guard guard;
  release(reinterpret_cast<UserObject*>(object), count);
  return cudaSuccess;
}

API cudaError_t cudaGraphRetainUserObject(cudaGraph_t graph, cudaUserObject_t handle,
                                          unsigned count, unsigned flags) {
  Guard guard;
  auto* const object = reinterpret_cast<UserObject*>(handle);
  if (!(flags & cudaGraphUserObjectMove)) object->references += count;
  auto& objects = reinterpret_cast<Graph*>(graph)->objects;
  objects.insert(objects.end(), count, object);
  return cudaSuccess;
}

// -- host functions -------------------------------------------------------------------------------

API cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  const Place place = enqueue(stream, "cudaLaunchHostFunc");
  if (place.error != cudaSuccess) return place.error;
  if (place.graph) {
    Guard guard;
    place.graph->functions.emplace_back(function, data);
  } else {
    function(data);
  }
  return cudaSuccess;
}

// Capture does not know callbacks, the older way.
API cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t function,
                                      void* data, unsigned) {
  cudaStreamCaptureStatus status;
  const cudaError_t error = cudaStreamIsCapturing(stream, &status);
  if (error != cudaSuccess) return error;
  if (status != cudaStreamCaptureStatusNone) {
    return fail(cudaErrorStreamCaptureUnsupported, "cudaStreamAddCallback");
  }
  function(stream, cudaSuccess, data);
  return cudaSuccess;
}
