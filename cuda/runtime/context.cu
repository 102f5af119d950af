// The context of the CUDA build: a card, its stream, its scratch memory and the text of the last error.
#include "context.cuh"

#include <cstring>
#include <new>

#include "cards.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

namespace {

void release(tb_context* context) {
  if (context->stream != nullptr) cudaStreamSynchronize(context->stream);
  if (context->gemm_release != nullptr) context->gemm_release(context->gemm_state);
  for (cudaEvent_t event : context->staged)
    if (event != nullptr) cudaEventDestroy(event);
  if (context->staging != nullptr) cudaFreeHost(context->staging);
  if (context->counters != nullptr) cudaFree(context->counters);
  if (context->scratch != nullptr) cudaFree(context->scratch);
  if (context->stream != nullptr) cudaStreamDestroy(context->stream);
  delete context;
}

// The driver's encoder of tensor maps, with which kernels of sm_90a are called: asked for at run time, as the library is opened where
// there is no driver too. Null where there is nothing to call: another card, a build without sm_90a, TITANBIT_NO_WGMMA=1, an old driver.
void* find_tensor_map_encoder(int32_t compute) {
#ifdef TB_BUILT_FOR_SM90A
  if (compute != 90 || tb::is_set("TITANBIT_NO_WGMMA")) return nullptr;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult answer;
#if CUDART_VERSION >= 12050
  const cudaError_t code = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &answer);
#else
  const cudaError_t code = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &answer);
#endif
  if (code == cudaSuccess && answer == cudaDriverEntryPointSuccess) return function;
  cudaGetLastError();
#endif
  return nullptr;
}

tb_status acquire(tb_context* context) {
  cudaError_t code = cudaSetDevice(context->device);
  if (code == cudaSuccess) code = cudaStreamCreateWithFlags(&context->stream, cudaStreamNonBlocking);
  if (code == cudaSuccess) code = cudaMalloc(reinterpret_cast<void**>(&context->scratch), tb::kScratchBytes);
  constexpr size_t kCounterBytes = size_t(tb::kCounters) * sizeof(unsigned);
  if (code == cudaSuccess) code = cudaMalloc(reinterpret_cast<void**>(&context->counters), kCounterBytes);
  if (code == cudaSuccess) code = cudaMemsetAsync(context->counters, 0, kCounterBytes, context->stream);
  if (code == cudaSuccess)
    code = cudaMallocHost(reinterpret_cast<void**>(&context->staging), tb::kStagingSlots * tb::kStagingBytes);
  for (cudaEvent_t& event : context->staged)
    if (code == cudaSuccess) code = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  return tb::checked(context, code, "open the card");
}

}  // namespace

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" {

int32_t tb_abi_version(void) { return TB_ABI_VERSION; }

tb_status tb_context_create(int32_t device, int32_t threads, tb_context** context, char* error, int64_t error_capacity) {
  if (context == nullptr || error == nullptr || error_capacity < 1) return TB_INVALID_ARGUMENT;
  *context = nullptr;
  const size_t room = size_t(error_capacity);
  if (threads < 0) {
    snprintf(error, room, "Cannot open card %d as threads must be at least 0: current value is %d", device, threads);
    return TB_INVALID_ARGUMENT;
  }
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found != cudaSuccess || count == 0) {
    cudaGetLastError();
    snprintf(error, room, "Cannot open card %d as the CUDA driver gives none: %s; run with --device cpu, or install a driver",
             device, found == cudaSuccess ? "no CUDA-capable device is detected" : cudaGetErrorString(found));
    return TB_NO_DEVICE;
  }
  if (device < 0 || device >= count) {
    snprintf(error, room, "Cannot open card %d as the CUDA driver gives cards 0 to %d", device, count - 1);
    return TB_NO_DEVICE;
  }
  tb::Card card;
  const cudaError_t read = tb::read_card(device, &card);
  if (read != cudaSuccess) {
    cudaGetLastError();
    snprintf(error, room, "Cannot read what card %d is: %s", device, cudaGetErrorString(read));
    return TB_NO_DEVICE;
  }
  if (!tb::is_usable(card)) {
    snprintf(error, room,
             "Cannot use card %d, %s, as compute capability must be at least %d.%d: current value is %d.%d; run with --device cpu",
             device, card.name, tb::kLeastCompute / 10, tb::kLeastCompute % 10, card.compute / 10, card.compute % 10);
    return TB_NO_DEVICE;
  }
  auto* made = new (std::nothrow) tb_context();
  if (made == nullptr) {
    snprintf(error, room, "Cannot open card %d as the host is out of memory", device);
    return TB_OUT_OF_MEMORY;
  }
  made->device = device;
  made->compute = card.compute;
  made->sm_count = card.sm_count;
  made->shared_bytes_per_block = card.shared_bytes_per_block;
  made->encode_tensor_map = find_tensor_map_encoder(card.compute);
  made->no_packed_wgmma = tb::is_set("TITANBIT_NO_PACKED_WGMMA");
  made->no_packed_rows = tb::is_set("TITANBIT_NO_PACKED_ROWS");
  snprintf(made->name, sizeof made->name, "%s", card.name);
  const tb_status status = acquire(made);
  if (status != TB_OK) {
    snprintf(error, room, "%s", made->error);
    release(made);
    return status;
  }
  *context = made;
  return TB_OK;
}

tb_status tb_context_destroy(tb_context* context) {
  TB_ENTER(context);
  release(context);
  return TB_OK;
}

tb_status tb_last_error(tb_context* context, char* text, int64_t capacity) {
  if (context == nullptr) return TB_INVALID_ARGUMENT;
  TB_REQUIRE(context, text != nullptr && capacity > 0, "Cannot give the last error as there is no room for it");
  snprintf(text, size_t(capacity), "%s", context->error);
  return TB_OK;
}

tb_status tb_synchronize(tb_context* context) {
  TB_ENTER(context);
  TB_REQUIRE(context, !context->capturing, "Cannot wait for the ops as they are being recorded: end the graph first");
  return tb::checked(context, cudaStreamSynchronize(context->stream), "finish the ops");
}

}  // extern "C"
