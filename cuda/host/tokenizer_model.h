// The vocabulary and merges of one tokenizer, and byte-pair merging of one word.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer_text.h"

namespace titanbit {

inline uint64_t mix(uint64_t a, uint64_t b) {
  const __uint128_t product = __uint128_t(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd6e8feb86659fd93u);
  return uint64_t(product) ^ uint64_t(product >> 64);
}

uint64_t hash_bytes(const uint8_t* bytes, size_t count);

enum class Algorithm : uint32_t { kByteLevel = 0, kSentencePiece = 1 };
enum class Split : uint32_t { kNone = 0, kGpt2 = 1, kCl100k = 2, kCl100kOneDigit = 3, kO200k = 4 };
// What stands before a text that does not begin with a space. Always: even one that does begin with one.
enum class Prefix : uint32_t { kNone = 0, kAlways = 1, kUnlessSpace = 2, kFirstUnlessSpace = 3 };
enum class TokenType : uint8_t { kNormal = 0, kByte = 1, kAdded = 2, kUnreachable = 3, kUnused = 4 };

struct AddedToken {
  uint32_t id;
  bool normalized, strip_left, strip_right, special;
  std::string content;
};

// A tokenizer as the TypeScript side reads it out of tokenizer.json (lib/tokenizer/native_spec.ts writes these bytes).
struct TokenizerSpec {
  Algorithm algorithm;
  Split split;
  bool ignore_merges;
  Prefix prefix;
  bool split_before_space;    // Metaspace's `split`
  bool normalizes;            // prefix and spaces come from the normalizer: normalized added tokens see their result
  bool byte_fallback_decode;  // a run of byte tokens that is no UTF-8 decodes to one U+FFFD a byte
  bool strip_space;           // decoding takes one space off the beginning
  std::vector<TokenType> types;
  std::vector<uint32_t> offsets;  // of tokens in bytes; one more than types
  std::vector<uint8_t> bytes;     // SentencePiece's U+2581 is a space here
  std::vector<uint32_t> merges;   // (left, right, result) in order of rank
  std::vector<AddedToken> added;

  size_t size() const { return types.size(); }
  const uint8_t* token(uint32_t id) const { return bytes.data() + offsets[id]; }
  size_t length(uint32_t id) const { return offsets[id + 1] - offsets[id]; }

  // An empty string, or what is wrong with the bytes.
  std::string parse(const uint8_t* spec, size_t count);
};

// (left, right) -> rank and result; open addressing, at most half full.
class MergeTable {
 public:
  struct Entry {
    uint64_t key;
    uint32_t rank, result;
  };
  static constexpr uint32_t kNone = 0xffffffff;

  void build(const std::vector<uint32_t>& triples);

  const Entry& find(uint32_t left, uint32_t right) const {
    const uint64_t key = uint64_t(left) << 32 | right;
    size_t slot = size_t(mix(key, 0)) & mask_;
    while (entries_[slot].key != key && entries_[slot].rank != kNone) slot = (slot + 1) & mask_;
    return entries_[slot];
  }

 private:
  std::vector<Entry> entries_;
  size_t mask_ = 0;
};

// What a tokenizer knows; const after build().
class TokenizerModel {
 public:
  // An empty string, or why this vocabulary cannot be used.
  std::string build(const uint8_t* spec, size_t count);

  const TokenizerSpec& spec() const { return spec_; }
  const CharClasses& classes() const { return classes_; }

  // Whole-word lookup of ignore_merges; MergeTable::kNone where no token has these bytes.
  uint32_t word_id(const uint8_t* word, size_t count) const;

  // SentencePiece: false only where no merge crosses the border between two characters.
  bool joins(uint32_t left, uint32_t right) const {
    if ((left | right) < 0x80) return ascii_joins_[left << 7 | right];
    const uint64_t bit = join_bit(left, right);
    return other_joins_[bit >> 6] >> (bit & 63) & 1;
  }

  // Ids of one word's characters or bytes before any merge, appended.
  void symbols(const uint8_t* word, size_t count, std::vector<uint32_t>& ids) const;

  const MergeTable& merges() const { return merges_; }

 private:
  static constexpr int kJoinBits = 20;
  static uint64_t join_bit(uint32_t left, uint32_t right) {
    return mix(uint64_t(left) << 32 | right, 1) >> (64 - kJoinBits);
  }
  std::string build_words();
  std::string build_characters();
  void add_joins(const uint8_t* token, size_t count);

  TokenizerSpec spec_;
  CharClasses classes_;
  MergeTable merges_;
  uint32_t byte_ids_[256];
  std::vector<uint32_t> char_ids_;     // SentencePiece: id + 1 of a code point's token, 0 for none
  std::vector<uint8_t> ascii_joins_;   // 128 x 128
  std::vector<uint64_t> other_joins_;  // a bit a hashed pair: a collision only joins what could have been cut
  std::vector<uint32_t> words_;        // ignore_merges: id + 1, open addressing
};

// Merges the symbols of one word. Holds the scratch memory of its thread.
class Merger {
 public:
  explicit Merger(const TokenizerModel& model) : model_(model) {}

  // The word's ids; valid until the next call.
  const std::vector<uint32_t>& encode(const uint8_t* word, size_t count);

 private:
  void merge_short();
  void merge_long();

  const TokenizerModel& model_;
  std::vector<uint32_t> ids_, ranks_, results_, next_, previous_;
  std::vector<uint64_t> heap_;
};

}  // namespace titanbit
