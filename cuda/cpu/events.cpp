// Events of the CPU build, whose ops are done when they return: a reading of the clock each. It records no graphs: there is
// no launch to save.
#include <time.h>

#include <new>

#include "context.h"

namespace {

struct Event {
  double milliseconds;
};

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return double(time.tv_sec) * 1e3 + double(time.tv_nsec) * 1e-6;
}

tb_status no_graphs(tb_context* context) {
  return tb::fail(context, TB_UNSUPPORTED, "Cannot record a graph as the CPU build runs ops at once: call them directly");
}

}  // namespace

extern "C" {

tb_status tb_graph_begin(tb_context* context) {
  TB_CHECK_CONTEXT(context);
  return no_graphs(context);
}

tb_status tb_graph_end(tb_context* context, uint64_t* graph) {
  TB_CHECK_CONTEXT(context);
  if (graph != nullptr) *graph = 0;
  return no_graphs(context);
}

tb_status tb_graph_launch(tb_context* context, uint64_t) {
  TB_CHECK_CONTEXT(context);
  return no_graphs(context);
}

tb_status tb_graph_destroy(tb_context* context, uint64_t) {
  TB_CHECK_CONTEXT(context);
  return no_graphs(context);
}

tb_status tb_event_create(tb_context* context, uint64_t* event) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, event != nullptr, "Cannot make an event as there is no room for its handle");
  auto* made = new (std::nothrow) Event{0};
  *event = reinterpret_cast<uint64_t>(made);
  return made != nullptr ? TB_OK : tb::fail(context, TB_OUT_OF_MEMORY, "Cannot make an event as the host is out of memory");
}

tb_status tb_event_record(tb_context* context, uint64_t event) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, event != 0, "Cannot record an event as its handle is 0");
  reinterpret_cast<Event*>(event)->milliseconds = now();
  return TB_OK;
}

tb_status tb_event_elapsed(tb_context* context, uint64_t from, uint64_t to, double* milliseconds) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, from != 0 && to != 0 && milliseconds != nullptr, "Cannot read the time between events as one is 0");
  *milliseconds = reinterpret_cast<Event*>(to)->milliseconds - reinterpret_cast<Event*>(from)->milliseconds;
  return TB_OK;
}

tb_status tb_event_destroy(tb_context* context, uint64_t event) {
  TB_CHECK_CONTEXT(context);
  delete reinterpret_cast<Event*>(event);
  return TB_OK;
}

}  // extern "C"
