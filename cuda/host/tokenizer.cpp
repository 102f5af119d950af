// The tokenizer's entry points: encoding, decoding, training.
//
// Contract
//   cuda/include/titanbit.h, section Tokenizer. No exception crosses the border; a handle keeps scratch memory and a word
//   cache, so one thread uses it at a time. Encoding is single-threaded: callers that want more cores make more handles.
#include <omp.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "titanbit.h"
#include "tokenizer_encode.h"
#include "tokenizer_train.h"

struct tb_tokenizer {
  titanbit::TokenizerCoder coder;
  std::vector<uint8_t> decoded;
};

struct tb_tokenizer_trainer {
  titanbit::WordCounter counter;
  titanbit::MergeTrainer merges;
  int threads;
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


tb_status tb_tokenizer_trainer_create(int32_t kind, int64_t specials, int64_t vocab_size, int64_t min_frequency,
                                      int64_t memory_limit, int32_t threads, tb_tokenizer_trainer** trainer) {
  if (kind < 0 || kind > 1 || specials < 0 || specials > 65536 || vocab_size > INT32_MAX ||
      vocab_size < specials + 256 + (kind == 1 ? 4 : 0) || min_frequency < 1 || memory_limit < 1 << 20 || threads < 0 ||
      trainer == nullptr)
    return TB_INVALID_ARGUMENT;
  try {
    const auto algorithm = titanbit::Algorithm(kind);
    *trainer = new tb_tokenizer_trainer{
        titanbit::WordCounter(algorithm, size_t(memory_limit)),
        titanbit::MergeTrainer(algorithm, uint32_t(specials), uint32_t(vocab_size), uint64_t(min_frequency)),
        threads > 0 ? threads : omp_get_max_threads()};
    return TB_OK;
  } catch (const std::bad_alloc&) {
    return TB_OUT_OF_MEMORY;
  } catch (...) {
    return TB_INTERNAL;
  }
}

tb_status tb_tokenizer_trainer_destroy(tb_tokenizer_trainer* trainer) {
  delete trainer;
  return TB_OK;
}

tb_status tb_tokenizer_trainer_add(tb_tokenizer_trainer* trainer, const uint8_t* text, int64_t bytes) {
  if (trainer == nullptr || bytes < 0 || (bytes > 0 && text == nullptr) || trainer->merges.started())
    return TB_INVALID_ARGUMENT;
  try {
    if (bytes > 0) trainer->counter.add(text, size_t(bytes), trainer->threads);
    return TB_OK;
  } catch (const std::bad_alloc&) {
    return TB_OUT_OF_MEMORY;
  } catch (...) {
    return TB_INTERNAL;
  }
}

tb_status tb_tokenizer_trainer_step(tb_tokenizer_trainer* trainer, int64_t tokens, int64_t* progress) {
  if (trainer == nullptr || tokens < 1 || tokens > INT32_MAX || progress == nullptr) return TB_INVALID_ARGUMENT;
  try {
    titanbit::MergeTrainer& merges = trainer->merges;
    if (!merges.started()) merges.start(trainer->counter.shards());
    const bool done = merges.step(uint32_t(tokens));
    progress[0] = int64_t(merges.size()) - int64_t(merges.base());
    progress[1] = done ? progress[0] : int64_t(merges.goal()) - int64_t(merges.base());
    progress[2] = int64_t(merges.merges().size());
    progress[3] = int64_t(merges.alphabet().size());
    return TB_OK;
  } catch (const std::bad_alloc&) {
    return TB_OUT_OF_MEMORY;
  } catch (...) {
    return TB_INTERNAL;
  }
}

tb_status tb_tokenizer_trainer_result(tb_tokenizer_trainer* trainer, uint32_t* merges, int64_t merge_count,
                                      uint32_t* alphabet, int64_t alphabet_count) {
  if (trainer == nullptr || merge_count != int64_t(trainer->merges.merges().size()) ||
      alphabet_count != int64_t(trainer->merges.alphabet().size()))
    return TB_INVALID_ARGUMENT;
  for (const titanbit::MergeTrainer::Merge& merge : trainer->merges.merges()) {
    *merges++ = merge.left;
    *merges++ = merge.right;
    *merges++ = merge.result;
  }
  for (const uint32_t code : trainer->merges.alphabet()) *alphabet++ = code;
  return TB_OK;
}

}  // extern "C"
