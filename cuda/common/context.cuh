// The CUDA build's context, and what every launcher says: enter, require, launched.
//
//   extern "C" tb_status tb_scale(tb_context* context, float* x, int64_t n) {
//     TB_ENTER(context);
//     TB_REQUIRE(context, n >= 0, "Cannot run tb_scale as n must be at least 0: current value is %lld", (long long)n);
//     if (n == 0) return TB_OK;
//     scale<<<tb::blocks_for(n, 256), 256, 0, context->stream>>>(x, n);
//     return tb::launched(context, "tb_scale");
//   }
//
// Ops launch on the context's stream, allocate nothing and wait for nothing, so that a stream capture can record them.
#pragma once

#include <cuda_runtime.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "titanbit.h"

namespace tb {

// One block of device memory that the op at the front of the stream has to itself; ops follow each other on one stream, so
// that each finds it free. An op that calls the matrix products (kernels/gemm.cuh) leaves the first kGemmScratchBytes to them.
constexpr int64_t kScratchBytes = int64_t(256) << 20;
constexpr int64_t kGemmScratchBytes = int64_t(32) << 20;

// Pinned memory through which host bytes go to the card: a ring of slots, each free again when its event has passed.
constexpr int kStagingSlots = 8;
constexpr int64_t kStagingBytes = int64_t(1) << 20;

// Counters of blocks that have done their part, for kernels whose last block finishes the work. They are 0 between kernels.
constexpr int64_t kCounters = int64_t(1) << 16;

}  // namespace tb

struct tb_context {
  int32_t device;
  int32_t compute;               // 90 for compute capability 9.0
  int32_t sm_count;
  int32_t shared_bytes_per_block;  // with cudaFuncAttributeMaxDynamicSharedMemorySize raised
  cudaStream_t stream;
  char* scratch;                 // kScratchBytes on the card, 256-byte aligned
  char* staging;                 // kStagingSlots * kStagingBytes, pinned
  cudaEvent_t staged[tb::kStagingSlots];
  int staging_slot;              // the next to be written
  bool capturing;                // between tb_graph_begin and tb_graph_end
  // What kernels/gemm keeps between calls (handles, chosen algorithms); made by its first call.
  void* gemm_state;
  void (*gemm_release)(void* state);
  void* encode_tensor_map;       // the driver's cuTensorMapEncodeTiled; null: no kernel of sm_90a may run
  char name[256];
  char error[1024];
  bool no_packed_wgmma;          // TITANBIT_NO_PACKED_WGMMA=1: Hopper leaves 33 to 255 rows of 2-bit weights to other kernels
  bool no_packed_rows;           // TITANBIT_NO_PACKED_ROWS=1: few rows take the same kernels from 2-bit as from int8 weights
  unsigned* counters;            // tb::kCounters on the card
  bool is_early;                 // the call at work is an op that has launched by launch_early() (overlap.cuh)
  bool was_early;                // so was the call before it
};

namespace tb {

// Keeps the message and hands the status on: return fail(context, TB_INVALID_ARGUMENT, "...", ...).
__attribute__((format(printf, 3, 4))) inline tb_status fail(tb_context* context, tb_status status, const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(context->error, sizeof context->error, format, values);
  va_end(values);
  return status;
}

// The status of a runtime call; `what` completes "Cannot ...".
inline tb_status checked(tb_context* context, cudaError_t code, const char* what) {
  if (code == cudaSuccess) return TB_OK;
  cudaGetLastError();  // an error that does not stick to the card is told once
  return fail(context, code == cudaErrorMemoryAllocation ? TB_OUT_OF_MEMORY : TB_INTERNAL,
              "Cannot %s as %s (device %d) answered: %s (%s)", what, context->name, context->device,
              cudaGetErrorString(code), cudaGetErrorName(code));
}

// After the last launch of an op.
inline tb_status launched(tb_context* context, const char* op) {
  const cudaError_t code = cudaGetLastError();
  if (code == cudaSuccess) return TB_OK;
  return fail(context, TB_INTERNAL, "Cannot run %s as %s (device %d) answered: %s (%s)", op, context->name, context->device,
              cudaGetErrorString(code), cudaGetErrorName(code));
}

// Whether a variable of the environment says yes: anything but nothing and 0.
inline bool is_set(const char* variable) {
  const char* value = getenv(variable);
  return value != nullptr && *value != 0 && strcmp(value, "0") != 0;
}

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A grid's first dimension for n items; the largest one is 2^31 - 1, which 2^31 * 256 items of one op do not reach.
inline unsigned blocks_for(int64_t n, int64_t per_block) { return unsigned(ceil_div(n, per_block)); }

inline bool is_aligned(const void* address, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(address) % uintptr_t(bytes) == 0;
}

}  // namespace tb

// Calls come from any thread, and the current device belongs to the thread.
#define TB_ENTER(context)                                                                                             \
  if ((context) == nullptr) return TB_INVALID_ARGUMENT;                                                               \
  (context)->was_early = (context)->is_early;                                                                         \
  (context)->is_early = false;                                                                                        \
  if (const cudaError_t tb_entered = cudaSetDevice((context)->device); tb_entered != cudaSuccess)                     \
  return ::tb::checked((context), tb_entered, "use the card")

// Every launcher names its op, the rule and the values it got.
#define TB_REQUIRE(context, condition, ...) \
  if (!(condition)) return ::tb::fail((context), TB_INVALID_ARGUMENT, __VA_ARGS__)

#define TB_REQUIRE_DTYPE(context, dtype, op)      \
  if ((dtype) != TB_F32 && (dtype) != TB_BF16)    \
  return ::tb::fail((context), TB_UNSUPPORTED,    \
                    "Cannot run %s as dtype must be 0 (float32) or 1 (bfloat16): current value is %d", op, int(dtype))
