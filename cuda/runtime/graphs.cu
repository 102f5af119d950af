// Ops recorded once and launched as one. What is recorded runs later: addresses and sizes are those of the recording.
#include "context.cuh"

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" {

tb_status tb_graph_begin(tb_context* context) {
  TB_ENTER(context);
  TB_REQUIRE(context, !context->capturing, "Cannot record a graph as another is being recorded: end that one first");
  // Other threads may have contexts of their own on this card: what they do must not end this recording.
  const cudaError_t code = cudaStreamBeginCapture(context->stream, cudaStreamCaptureModeThreadLocal);
  if (code != cudaSuccess) return tb::checked(context, code, "record a graph");
  context->capturing = true;
  return TB_OK;
}

tb_status tb_graph_end(tb_context* context, uint64_t* graph) {
  TB_ENTER(context);
  TB_REQUIRE(context, graph != nullptr, "Cannot end a graph as there is no room for its handle");
  *graph = 0;
  TB_REQUIRE(context, context->capturing, "Cannot end a graph as none is being recorded: begin one first");
  context->capturing = false;
  cudaGraph_t recorded = nullptr;
  cudaError_t code = cudaStreamEndCapture(context->stream, &recorded);
  if (code != cudaSuccess) return tb::checked(context, code, "end a graph");
  cudaGraphExec_t executable = nullptr;
  code = cudaGraphInstantiate(&executable, recorded, 0);
  cudaGraphDestroy(recorded);
  if (code == cudaSuccess) code = cudaGraphUpload(executable, context->stream);
  if (code != cudaSuccess) {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
    return tb::checked(context, code, "prepare a graph");
  }
  *graph = reinterpret_cast<uint64_t>(executable);
  return TB_OK;
}

tb_status tb_graph_launch(tb_context* context, uint64_t graph) {
  TB_ENTER(context);
  TB_REQUIRE(context, graph != 0, "Cannot launch a graph as its handle is 0");
  TB_REQUIRE(context, !context->capturing, "Cannot launch a graph as another is being recorded: end that one first");
  return tb::checked(context, cudaGraphLaunch(reinterpret_cast<cudaGraphExec_t>(graph), context->stream), "launch a graph");
}

tb_status tb_graph_destroy(tb_context* context, uint64_t graph) {
  TB_ENTER(context);
  if (graph == 0) return TB_OK;
  cudaError_t code = cudaStreamSynchronize(context->stream);
  if (code == cudaSuccess) code = cudaGraphExecDestroy(reinterpret_cast<cudaGraphExec_t>(graph));
  return tb::checked(context, code, "destroy a graph");
}

}  // extern "C"
