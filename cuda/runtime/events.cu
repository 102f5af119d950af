// Points in the stream whose distance in time can be read. One recorded into a graph is passed by each of its launches.
#include "context.cuh"

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" {

tb_status tb_event_create(tb_context* context, uint64_t* event) {
  TB_ENTER(context);
  TB_REQUIRE(context, event != nullptr, "Cannot make an event as there is no room for its handle");
  cudaEvent_t made = nullptr;
  const cudaError_t code = cudaEventCreate(&made);
  *event = reinterpret_cast<uint64_t>(made);
  return tb::checked(context, code, "make an event");
}

tb_status tb_event_record(tb_context* context, uint64_t event) {
  TB_ENTER(context);
  TB_REQUIRE(context, event != 0, "Cannot record an event as its handle is 0");
  // Recorded as external, an event of a graph can be read like any other.
  const unsigned flags = context->capturing ? cudaEventRecordExternal : cudaEventRecordDefault;
  return tb::checked(context, cudaEventRecordWithFlags(reinterpret_cast<cudaEvent_t>(event), context->stream, flags),
                     "record an event");
}

tb_status tb_event_elapsed(tb_context* context, uint64_t from, uint64_t to, double* milliseconds) {
  TB_ENTER(context);
  TB_REQUIRE(context, from != 0 && to != 0 && milliseconds != nullptr, "Cannot read the time between events as one is 0");
  float elapsed = 0;
  cudaError_t code = cudaEventSynchronize(reinterpret_cast<cudaEvent_t>(to));
  if (code == cudaSuccess)
    code = cudaEventElapsedTime(&elapsed, reinterpret_cast<cudaEvent_t>(from), reinterpret_cast<cudaEvent_t>(to));
  *milliseconds = double(elapsed);
  return tb::checked(context, code, "read the time between events");
}

tb_status tb_event_destroy(tb_context* context, uint64_t event) {
  TB_ENTER(context);
  if (event == 0) return TB_OK;
  return tb::checked(context, cudaEventDestroy(reinterpret_cast<cudaEvent_t>(event)), "destroy an event");
}

}  // extern "C"
