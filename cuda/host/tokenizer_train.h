// Learning the merges of a byte-pair vocabulary from text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "tokenizer_model.h"

namespace titanbit {

// Words and how often they occur.
class WordTable {
 public:
  struct Entry {
    uint64_t hash, count, start;  // start: of the word's bytes in the arena
    uint32_t bytes;               // 0 for an empty entry
  };

  WordTable() : entries_(64) {}
  void add(uint64_t hash, const uint8_t* word, size_t bytes, uint64_t count);
  void clear();
  // Drops the words that occur at most `count` times.
  void prune(uint64_t count);

  size_t size() const { return size_; }
  size_t memory() const { return entries_.size() * sizeof(Entry) + arena_.size(); }
  const uint8_t* word(const Entry& entry) const { return arena_.data() + entry.start; }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  void grow();
  std::vector<Entry> entries_;
  std::vector<uint8_t> arena_;
  size_t size_ = 0;
};

// Counts the words of texts on several threads.
class WordCounter {
 public:
  static constexpr int kShards = 64;

  WordCounter(Algorithm algorithm, size_t memory_limit)
      : algorithm_(algorithm), memory_limit_(memory_limit), shards_(kShards) {}
  void add(const uint8_t* text, size_t bytes, int threads);
  const std::vector<WordTable>& shards() const { return shards_; }

 private:
  void count(const uint8_t* p, const uint8_t* end, bool first, std::vector<WordTable>& into) const;
  const uint8_t* next_word(const uint8_t* p, const uint8_t* end) const;

  Algorithm algorithm_;
  size_t memory_limit_;
  uint64_t pruned_ = 0;  // words of at most this count are gone
  CharClasses classes_;
  std::vector<WordTable> shards_;
  std::vector<std::vector<WordTable>> local_;
};

// Merges, most frequent pair first.
class MergeTrainer {
 public:
  struct Merge {
    uint32_t left, right, result;
  };

  MergeTrainer(Algorithm algorithm, uint32_t specials, uint32_t vocab_size, uint64_t min_frequency)
      : algorithm_(algorithm), specials_(specials), vocab_size_(vocab_size), min_frequency_(min_frequency) {}

  bool started() const { return started_; }
  void start(const std::vector<WordTable>& shards);
  // Adds up to `tokens` tokens; true when there is nothing left to do.
  bool step(uint32_t tokens);

  uint32_t size() const { return uint32_t(tokens_.size()); }
  uint32_t goal() const { return vocab_size_; }
  uint32_t base() const { return base_; }
  const std::vector<Merge>& merges() const { return merges_; }
  const std::vector<uint32_t>& alphabet() const { return alphabet_; }

 private:
  static constexpr uint32_t kNoSymbol = 0xffffffff;
  struct Pair {
    uint64_t key, count;
    bool merged;                  // before: its symbols can come together again when another merge spells one of them
    std::vector<uint32_t> words;  // where it occurs or occurred
  };
  struct Candidate {
    uint64_t count, key;
    uint32_t pair;  // index into pairs_
    // Less: merged later. Equal counts: the pair of smaller ids first.
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : key > other.key;
    }
  };

  void choose_alphabet(const std::vector<WordTable>& shards);
  void add_word(const uint8_t* word, size_t bytes, uint64_t count);
  uint32_t pair_of(uint32_t left, uint32_t right);
  void add_pair(uint32_t left, uint32_t right, uint64_t count, uint32_t word, bool changed);
  void take_pair(uint32_t left, uint32_t right, uint64_t count);
  void push(uint32_t pair);
  void merge(uint32_t pair);
  void merge_word(uint32_t word, uint32_t left, uint32_t right, uint32_t result);

  Algorithm algorithm_;
  uint32_t specials_, vocab_size_, base_ = 0;
  uint64_t min_frequency_;
  bool started_ = false;
  std::vector<uint32_t> alphabet_;                      // SentencePiece: code points, in order of ids
  std::unordered_map<uint32_t, uint32_t> alphabet_ids_;
  std::vector<std::string> tokens_;                     // bytes by id; specials are empty
  std::unordered_map<std::string, uint32_t> token_ids_;
  std::vector<uint32_t> symbols_;                       // of all words, end to end
  std::vector<uint64_t> word_starts_, word_counts_;
  std::vector<uint32_t> word_lengths_;
  std::unordered_map<uint64_t, uint32_t> pair_ids_;
  std::vector<Pair> pairs_;
  std::vector<uint32_t> changed_;  // pairs that a merge made more frequent
  std::vector<Candidate> heap_;
  std::vector<Merge> merges_;
};

}  // namespace titanbit
