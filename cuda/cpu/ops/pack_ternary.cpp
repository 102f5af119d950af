// ---- Contract -------------------------------------------------------------------------------------------------------
//
// packed (rows, ceil(cols / 16)) int32: value j of a row sits in bits 2 (j % 16) of word j / 16 as code q + 1, so that byte b of
// a row (little-endian) holds values 4 b .. 4 b + 3, the first in the lowest bits. Code 1 (value 0) fills a last word.
// Values other than -1, 0 and 1 are not representable: (q + 1) mod 4 is stored. Code 3, which pack never writes for ternary
// values, unpacks to 2.

#include <omp.h>

#include "dispatch.h"

TB_DECLARE(void, pack_ternary, (tb_context* context, const int8_t* q, int32_t* packed, int64_t rows, int64_t cols))
TB_DECLARE(void, unpack_ternary, (tb_context* context, const int32_t* packed, int8_t* q, int64_t rows, int64_t cols))

// ---- Implementation -------------------------------------------------------------------------------------------------

namespace tb::TB_ISA {
namespace {

constexpr int64_t kValues = 16;
constexpr int64_t kSmallMatrix = 1 << 16;

uint32_t pack_word(const int8_t* q, int64_t count) {
  uint32_t word = 0;
  for (int64_t j = 0; j < kValues; ++j) {
    const int32_t value = j < count ? q[j] : 0;
    word |= (uint32_t(value + 1) & 3) << (2 * j);
  }
  return word;
}

// Word after word; the values of 8 words side by side keep the vectors full.
void pack_row(const int8_t* q, int32_t* packed, int64_t cols) {
  const int64_t full = cols / kValues;
#pragma omp simd
  for (int64_t word = 0; word < full; ++word) {
    uint32_t bits = 0;
    for (int j = 0; j < kValues; ++j) bits |= (uint32_t(int32_t(q[word * kValues + j]) + 1) & 3) << (2 * j);
    packed[word] = int32_t(bits);
  }
  if (full * kValues < cols) packed[full] = int32_t(pack_word(q + full * kValues, cols - full * kValues));
}

void unpack_row(const int32_t* packed, int8_t* q, int64_t cols) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(packed);
  const int64_t full = cols / 4;
  for (int64_t b = 0; b < full; ++b) {
    // Four codes spread over four bytes, then one taken from each byte: a byte's code is at most 3, so nothing borrows
    // from its neighbour once 0x80 is lent and taken back.
    const uint32_t halves = (bytes[b] | uint32_t(bytes[b]) << 12) & 0x000f000f;
    const uint32_t codes = (halves | halves << 6) & 0x03030303;
    const uint32_t values = ((codes | 0x80808080) - 0x01010101) ^ 0x80808080;
    __builtin_memcpy(q + 4 * b, &values, 4);
  }
  for (int64_t j = 4 * full; j < cols; ++j) q[j] = int8_t(((bytes[j / 4] >> (2 * (j % 4))) & 3) - 1);
}

}  // namespace

void pack_ternary(tb_context* context, const int8_t* q, int32_t* packed, int64_t rows, int64_t cols) {
  const int64_t words = (cols + kValues - 1) / kValues;
#pragma omp parallel for schedule(static) num_threads(rows * cols < kSmallMatrix ? 1 : context->threads)
  for (int64_t row = 0; row < rows; ++row) pack_row(q + row * cols, packed + row * words, cols);
}

void unpack_ternary(tb_context* context, const int32_t* packed, int8_t* q, int64_t rows, int64_t cols) {
  const int64_t words = (cols + kValues - 1) / kValues;
#pragma omp parallel for schedule(static) num_threads(rows * cols < kSmallMatrix ? 1 : context->threads)
  for (int64_t row = 0; row < rows; ++row) unpack_row(packed + row * words, q + row * cols, cols);
}

}  // namespace tb::TB_ISA

// ---- Launchers ------------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS
extern "C" {

tb_status tb_pack_ternary(tb_context* context, const int8_t* q, int32_t* packed, int64_t rows, int64_t cols) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, rows > 0 && cols > 0,
             "Cannot run tb_pack_ternary as rows and cols must be positive: current values are %lld, %lld", (long long)rows,
             (long long)cols);
  TB_REQUIRE(context, q != nullptr && packed != nullptr, "Cannot run tb_pack_ternary as q and packed must not be null");
  TB_DISPATCH(context, pack_ternary, (context, q, packed, rows, cols));
  return TB_OK;
}

tb_status tb_unpack_ternary(tb_context* context, const int32_t* packed, int8_t* q, int64_t rows, int64_t cols) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, rows > 0 && cols > 0,
             "Cannot run tb_unpack_ternary as rows and cols must be positive: current values are %lld, %lld", (long long)rows,
             (long long)cols);
  TB_REQUIRE(context, q != nullptr && packed != nullptr, "Cannot run tb_unpack_ternary as q and packed must not be null");
  TB_DISPATCH(context, unpack_ternary, (context, packed, q, rows, cols));
  return TB_OK;
}

}  // extern "C"
#endif
