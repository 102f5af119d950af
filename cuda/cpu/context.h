// The CPU build's context: threads, instruction set, per-thread scratch and the text of the last error.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "titanbit.h"

namespace tb {

// Order matters: a higher level can run everything below it.
enum class Isa : int32_t { portable = 0, avx2 = 1, avx512 = 2 };

// What every thread has for packed panels and tiles; ops lay their blocks out to fit.
constexpr int64_t kScratchBytes = 8 << 20;

}  // namespace tb

struct tb_context {
  int32_t threads;
  tb::Isa isa;
  char* scratch;  // threads * kScratchBytes, 64-byte aligned
  char error[1024];

  void* thread_scratch(int32_t thread) { return scratch + thread * tb::kScratchBytes; }
};

namespace tb {

// Keeps the message and hands the status on: return fail(context, TB_INVALID_ARGUMENT, "...", ...).
__attribute__((format(printf, 3, 4))) inline tb_status fail(tb_context* context, tb_status status,
                                                            const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(context->error, sizeof context->error, format, values);
  va_end(values);
  return status;
}

}  // namespace tb

#define TB_CHECK_CONTEXT(context) \
  if ((context) == nullptr) return TB_INVALID_ARGUMENT

// Every launcher names its op, the rule and the values it got.
#define TB_REQUIRE(context, condition, ...) \
  if (!(condition)) return ::tb::fail((context), TB_INVALID_ARGUMENT, __VA_ARGS__)

#define TB_REQUIRE_F32(context, dtype, op)                                                                   \
  if ((dtype) != TB_F32)                                                                                     \
  return ::tb::fail((context), TB_UNSUPPORTED,                                                               \
                    "Cannot run %s as the CPU build computes in float32: current dtype is %d", op, int(dtype))
