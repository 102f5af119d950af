// The tokenizer's entry points: encoding and decoding.
//
// Contract
//   cuda/include/titanbit.h, section Tokenizer. No exception crosses the border; a handle keeps scratch memory and a word
//   cache, so one thread uses it at a time. Single-threaded: callers that want more cores make more handles.
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "titanbit.h"
#include "tokenizer_encode.h"

struct tb_tokenizer {
  titanbit::TokenizerCoder coder;
  std::vector<uint8_t> decoded;
};

namespace {

void explain(char* error, int64_t capacity, const char* text) {
  if (error != nullptr && capacity > 0) snprintf(error, size_t(capacity), "%s", text);
}

}  // namespace

extern "C" {

tb_status tb_tokenizer_create(const uint8_t* spec, int64_t spec_bytes, tb_tokenizer** tokenizer, char* error,
                              int64_t error_capacity) {
  if (spec == nullptr || spec_bytes < 0 || tokenizer == nullptr) {
    explain(error, error_capacity, "the specification or the place for the handle is missing");
    return TB_INVALID_ARGUMENT;
  }
  try {
    auto made = std::make_unique<tb_tokenizer>();
    const std::string problem = made->coder.build(spec, size_t(spec_bytes));
    if (!problem.empty()) {
      explain(error, error_capacity, problem.c_str());
      return TB_INVALID_ARGUMENT;
    }
    *tokenizer = made.release();
    return TB_OK;
  } catch (const std::bad_alloc&) {
    explain(error, error_capacity, "not enough memory for the vocabulary");
    return TB_OUT_OF_MEMORY;
  } catch (...) {
    explain(error, error_capacity, "unexpected failure");
    return TB_INTERNAL;
  }
}

tb_status tb_tokenizer_destroy(tb_tokenizer* tokenizer) {
  delete tokenizer;
  return TB_OK;
}

tb_status tb_tokenizer_encode(tb_tokenizer* tokenizer, const uint8_t* text, const double* ends, int64_t documents,
                              int64_t end_id, int32_t specials_as_text, uint32_t* ids, int64_t capacity, double* id_ends,
                              int64_t* count) {
  if (tokenizer == nullptr || documents < 0 || capacity < 0 || count == nullptr ||
      (documents > 0 && (ends == nullptr || id_ends == nullptr)))
    return TB_INVALID_ARGUMENT;
  try {
    titanbit::IdWriter out{ids, size_t(capacity), 0};
    size_t start = 0;
    for (int64_t d = 0; d < documents; d++) {
      const size_t end = size_t(ends[d]);
      if (end < start) return TB_INVALID_ARGUMENT;
      if (end > start) tokenizer->coder.encode(text + start, end - start, specials_as_text != 0, out);
      if (end_id >= 0) out.put(uint32_t(end_id));
      id_ends[d] = double(out.count);
      start = end;
    }
    *count = int64_t(out.count);
    return out.count <= out.capacity ? TB_OK : TB_INVALID_ARGUMENT;
  } catch (const std::bad_alloc&) {
    return TB_OUT_OF_MEMORY;
  } catch (...) {
    return TB_INTERNAL;
  }
}

tb_status tb_tokenizer_decode(tb_tokenizer* tokenizer, const uint32_t* ids, int64_t count, int32_t mode, uint8_t* bytes,
                              int64_t capacity, int64_t* written) {
  if (tokenizer == nullptr || count < 0 || capacity < 0 || written == nullptr) return TB_INVALID_ARGUMENT;
  try {
    for (int64_t i = 0; i < count; i++) {
      if (ids[i] < tokenizer->coder.size()) continue;
      *written = -1 - i;
      return TB_INVALID_ARGUMENT;
    }
    std::vector<uint8_t>& out = tokenizer->decoded;
    tokenizer->coder.decode(ids, size_t(count), (mode & 1) != 0, (mode & 2) != 0, out);
    *written = int64_t(out.size());
    if (out.size() > size_t(capacity)) return TB_INVALID_ARGUMENT;
    if (!out.empty()) memcpy(bytes, out.data(), out.size());
    return TB_OK;
  } catch (const std::bad_alloc&) {
    return TB_OUT_OF_MEMORY;
  } catch (...) {
    return TB_INTERNAL;
  }
}

}  // extern "C"
