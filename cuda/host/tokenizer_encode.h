// Documents to ids and back, over one TokenizerModel.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer_model.h"

namespace titanbit {

// Finds added tokens in a text: leftmost, and of those the longest.
class AddedTokenFinder {
 public:
  struct Match {
    const uint8_t* start;  // where there is none: the end of the text
    const uint8_t* end;
    const AddedToken* token;
  };

  void add(const AddedToken* token, std::string content);
  void finish();
  bool empty() const { return entries_.empty(); }

  // The first match at or after `from`; as if there were no special tokens where skip_special.
  Match find(const uint8_t* from, const uint8_t* end, bool skip_special) const;

 private:
  struct Entry {
    std::string content;
    const AddedToken* token;
  };
  std::vector<Entry> entries_;     // by first two bytes, then the longest first
  std::vector<uint32_t> buckets_;  // entries of two leading bytes begin at [b0 << 8 | b1]; one more than 65536
  int first_[256] = {};            // 1: some token of two or more bytes, 2: one of this very byte
  std::vector<uint32_t> single_;   // entry of a one-byte token
  int only_first_ = -1;            // the byte that all tokens begin with
};

// Where ids go; counts on where the room ends, so that the caller learns what was needed.
struct IdWriter {
  uint32_t* ids;
  size_t capacity;
  size_t count;

  void put(const uint32_t* from, size_t n) {
    if (count + n <= capacity)
      for (size_t i = 0; i < n; i++) ids[count + i] = from[i];
    count += n;
  }
  void put(uint32_t id) { put(&id, 1); }
};

// Ids of words seen before, keyed by the words' bytes. Two tables: words of up to 15 bytes lie in their entries, words of
// up to kLongest bytes lie in an arena. Bounded: a full arena or table is emptied.
class WordCache {
 public:
  static constexpr size_t kShortest = 15, kLongest = 128;
  struct Short {
    uint64_t low, high;  // the bytes, the last one their count; 0 for an empty entry
    uint32_t ids[3];     // the ids, or where they lie in the arena where count > 3
    uint32_t count;
  };
  struct Long {
    uint64_t hash;
    uint32_t word, ids;
    uint32_t bytes, count;  // bytes 0 for an empty entry
  };

  WordCache();
  Short* find(uint64_t low, uint64_t high);  // the word's entry, or the empty one where it belongs
  void insert(Short* entry, uint64_t low, uint64_t high, const std::vector<uint32_t>& ids);
  const Long* find(uint64_t hash, const uint8_t* word, size_t bytes) const;
  void insert(uint64_t hash, const uint8_t* word, size_t bytes, const std::vector<uint32_t>& ids);
  const uint32_t* spilled(uint32_t at) const { return arena_.data() + at; }

 private:
  static constexpr size_t kMostShort = size_t(1) << 18, kMostLong = size_t(1) << 16, kMostSpilled = size_t(1) << 20;
  void grow();
  uint32_t spill(const std::vector<uint32_t>& ids);

  std::vector<Short> short_;
  std::vector<Long> long_;
  std::vector<uint8_t> words_;
  std::vector<uint32_t> arena_;
  size_t short_count_ = 0, long_count_ = 0;
};

class TokenizerCoder {
 public:
  // An empty string, or why this tokenizer cannot be used.
  std::string build(const uint8_t* spec, size_t count);

  void encode(const uint8_t* text, size_t count, bool specials_as_text, IdWriter& out);

  // Bytes of the ids, which must be below size().
  void decode(const uint32_t* ids, size_t count, bool strip, bool replace, std::vector<uint8_t>& out) const;

  size_t size() const { return model_.spec().size(); }

 private:
  // prefix: what may stand before the piece; first: it begins at the document's first byte.
  void piece(const uint8_t* p, const uint8_t* end, Prefix prefix, bool first, IdWriter& out);
  void raw_piece(const uint8_t* p, const uint8_t* end, bool first, bool specials_as_text, IdWriter& out);
  template <typename Splitter>
  void words(const uint8_t* p, const uint8_t* end, IdWriter& out);
  void segment(const uint8_t* p, const uint8_t* q, bool open, const uint8_t* end, IdWriter& out);
  void segments(const uint8_t* p, const uint8_t* end, bool spaced, IdWriter& out);
  void word(const uint8_t* p, size_t count, const uint8_t* end, IdWriter& out);

  TokenizerModel model_;
  Merger merger_{model_};
  WordCache cache_;
  AddedTokenFinder raw_added_, normalized_added_;
  std::vector<uint8_t> normalized_, spaced_;
};

}  // namespace titanbit
