// Token windows out of mapped token files into ids and targets: targets[b][t] = ids[b][t + 1].
//
// Every token is checked before anything is written. Tokens are unsigned little-endian integers of 2 or 4 bytes, at any
// alignment. One thread a window.
#include <omp.h>

#include <cstring>

#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, first_bad_window,
           (tb_context * context, const uint64_t* windows, int32_t width, int64_t B, int64_t T, int64_t vocab_size,
            int64_t* window))
TB_DECLARE(void, load_tokens,
           (tb_context * context, const uint64_t* windows, int32_t width, int64_t B, int64_t T, int32_t* ids,
            int32_t* targets))

namespace tb::TB_ISA {

typedef uint16_t token16 __attribute__((aligned(1), may_alias));
typedef uint32_t token32 __attribute__((aligned(1), may_alias));

template <typename Token>
TB_INLINE uint32_t largest_token(const Token* window, int64_t count) {
  uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t token = window[i];
    largest = token > largest ? token : largest;
  }
  return largest;
}

// *window is B where every window is good.
void first_bad_window(tb_context* context, const uint64_t* windows, int32_t width, int64_t B, int64_t T, int64_t vocab_size,
                      int64_t* window) {
  int64_t bad = B;
#pragma omp parallel for num_threads(context->threads) schedule(static) reduction(min : bad) if (B * T > 16384)
  for (int64_t b = 0; b < B; ++b) {
    const uint32_t largest = width == 2 ? largest_token(reinterpret_cast<const token16*>(windows[b]), T + 1)
                                        : largest_token(reinterpret_cast<const token32*>(windows[b]), T + 1);
    if (int64_t(largest) >= vocab_size) bad = b < bad ? b : bad;
  }
  *window = bad;
}

template <typename Token>
TB_INLINE void widen(const Token* window, int32_t* ids, int32_t* targets, int64_t T) {
#pragma omp simd
  for (int64_t t = 0; t < T; ++t) {
    ids[t] = int32_t(window[t]);
    targets[t] = int32_t(window[t + 1]);
  }
}

void load_tokens(tb_context* context, const uint64_t* windows, int32_t width, int64_t B, int64_t T, int32_t* ids,
                 int32_t* targets) {
#pragma omp parallel for num_threads(context->threads) schedule(static) if (B * T > 16384)
  for (int64_t b = 0; b < B; ++b) {
    if (width == 2)
      widen(reinterpret_cast<const token16*>(windows[b]), ids + b * T, targets + b * T, T);
    else
      widen(reinterpret_cast<const token32*>(windows[b]), ids + b * T, targets + b * T, T);
  }
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_load_tokens(tb_context* context, const uint64_t* windows, int32_t width, int64_t B, int64_t T,
                                    int64_t vocab_size, int32_t* ids, int32_t* targets, int64_t* bad) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, width == 2 || width == 4, "Cannot load tokens as width must be 2 or 4 bytes: current value is %d", width);
  TB_REQUIRE(context, B >= 0 && T >= 1, "Cannot load tokens as B must be at least 0 and T at least 1: current values are %lld and %lld",
             (long long)B, (long long)T);
  TB_REQUIRE(context, vocab_size >= 1 && vocab_size <= (int64_t(1) << 31),
             "Cannot load tokens as vocab_size must be 1 to 2^31: current value is %lld", (long long)vocab_size);
  if (B == 0) return TB_OK;
  TB_REQUIRE(context, windows != nullptr && ids != nullptr && targets != nullptr && bad != nullptr,
             "Cannot load tokens as windows, ids, targets or bad is null");
  for (int64_t b = 0; b < B; ++b)
    TB_REQUIRE(context, windows[b] != 0, "Cannot load tokens as window %lld has no address", (long long)b);
  int64_t window = B;
  TB_DISPATCH(context, first_bad_window, (context, windows, width, B, T, vocab_size, &window));
  if (window < B) {
    const char* from = reinterpret_cast<const char*>(windows[window]);
    int64_t position = 0;
    uint32_t token = 0;
    for (;; ++position) {
      token = 0;
      memcpy(&token, from + position * width, size_t(width));
      if (int64_t(token) >= vocab_size) break;
    }
    bad[0] = window;
    bad[1] = position;
    bad[2] = int64_t(token);
    return tb::fail(context, TB_INVALID_ARGUMENT,
                    "Cannot load tokens as ids must be below the vocabulary size %lld: current value is %lld at position "
                    "%lld of window %lld",
                    (long long)vocab_size, (long long)token, (long long)position, (long long)window);
  }
  TB_DISPATCH(context, load_tokens, (context, windows, width, B, T, ids, targets));
  return TB_OK;
}

#endif
