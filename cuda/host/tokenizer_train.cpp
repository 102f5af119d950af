// Learning the merges of a byte-pair vocabulary from text.
//
// Contract
//   Words: byte-level, those of the GPT-2 split; SentencePiece, an optional space and a run of letters and marks, or of
//   punctuation; digits, line breaks and longer runs of spaces stand alone. Words beyond kLongestWord bytes are cut.
//   Each merge takes the pair of the highest count; of equal ones the pair whose ids are smallest, left one first.
//   The result depends on the texts and on how they were cut into calls, never on the number of threads: counts are sums,
//   and words are dropped (where the table outgrows its limit) between calls, by their counts alone.
//   Training stops at vocab_size tokens or where no pair occurs min_frequency times.
#include "tokenizer_train.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace titanbit {

namespace {

constexpr size_t kLongestWord = 512;
constexpr size_t kParallelBytes = size_t(1) << 18;  // below this, threads cost more than they save
constexpr double kAlphabetCoverage = 0.9995;

}  // namespace

// ---- Words -----------------------------------------------------------------------------------------------------------

void WordTable::add(uint64_t hash, const uint8_t* word, size_t bytes, uint64_t count) {
  const size_t mask = entries_.size() - 1;
  size_t slot = size_t(hash) & mask;
  for (; entries_[slot].bytes != 0; slot = (slot + 1) & mask) {
    Entry& entry = entries_[slot];
    if (entry.hash == hash && entry.bytes == bytes && memcmp(arena_.data() + entry.start, word, bytes) == 0) {
      entry.count += count;
      return;
    }
  }
  entries_[slot] = {hash, count, arena_.size(), uint32_t(bytes)};
  arena_.insert(arena_.end(), word, word + bytes);
  if (2 * ++size_ > entries_.size()) grow();
}

void WordTable::grow() {
  std::vector<Entry> old(2 * entries_.size());
  old.swap(entries_);
  const size_t mask = entries_.size() - 1;
  for (const Entry& entry : old) {
    if (entry.bytes == 0) continue;
    size_t slot = size_t(entry.hash) & mask;
    while (entries_[slot].bytes != 0) slot = (slot + 1) & mask;
    entries_[slot] = entry;
  }
}

void WordTable::clear() {
  if (size_ == 0) return;
  std::fill(entries_.begin(), entries_.end(), Entry{});
  arena_.clear();
  size_ = 0;
}

void WordTable::prune(uint64_t count) {
  WordTable kept;
  for (const Entry& entry : entries_)
    if (entry.bytes != 0 && entry.count > count) kept.add(entry.hash, word(entry), entry.bytes, entry.count);
  std::swap(*this, kept);
}

const uint8_t* WordCounter::next_word(const uint8_t* p, const uint8_t* end) const {
  if (algorithm_ == Algorithm::kByteLevel) return Gpt2Split::next(classes_, p, end);
  constexpr uint8_t kWord = kLetter | kUpper | kLower;  // letters and marks
  const uint8_t* q = p + (*p == ' ' && end - p > 1);
  const Char c = decode_char(q, end);
  const uint8_t bits = classes_.of(c.code);
  if (bits & kWord) return classes_.run_of(kWord, q, end);
  if (bits & kNumber) return q > p ? q : q + c.bytes;
  if ((bits & kSpace) == 0) return classes_.run_without(kWord | kNumber | kSpace, q, end);
  if (*p != ' ') return p + c.bytes;
  while (q < end && *q == ' ') q++;
  const bool leads = q < end && q - p > 1 && (classes_.of(decode_char(q, end).code) & kSpace) == 0;
  return leads ? q - 1 : q;
}

void WordCounter::count(const uint8_t* p, const uint8_t* end, bool first, std::vector<WordTable>& into) const {
  std::vector<uint8_t> spaced;
  while (p < end) {
    const uint8_t* next = next_word(p, end);
    const uint8_t* word = p;
    size_t left = size_t(next - p);
    if (first && algorithm_ == Algorithm::kSentencePiece && *p != ' ') {
      spaced.assign(1, ' ');
      spaced.insert(spaced.end(), p, next);
      word = spaced.data();
      left++;
    }
    first = false;
    while (left > 0) {
      size_t bytes = std::min(left, kLongestWord);
      while (bytes < left && bytes > kLongestWord - 3 && is_continuation(word[bytes])) bytes--;
      const uint64_t hash = hash_bytes(word, bytes);
      into[hash >> 58].add(hash, word, bytes, 1);
      word += bytes;
      left -= bytes;
    }
    p = next;
  }
}

void WordCounter::add(const uint8_t* text, size_t bytes, int threads) {
  const uint8_t* const end = text + bytes;
  if (bytes < kParallelBytes || threads == 1) {
    count(text, end, true, shards_);
  } else {
    // Cut before a line break that follows a character of text: no word of either split crosses such a border.
    std::vector<const uint8_t*> cuts{text};
    for (int t = 1; t < threads; t++) {
      const uint8_t* p = std::max(cuts.back() + 1, text + bytes / size_t(threads) * size_t(t));
      while (p < end && !(*p == '\n' && p[-1] > ' ' && p[-1] < 0x80)) p++;
      cuts.push_back(p);
    }
    cuts.push_back(end);
    local_.resize(size_t(threads), std::vector<WordTable>(kShards));
    bool failed = false;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(|| : failed)
    for (int t = 0; t < threads; t++) {
      try {
        if (cuts[t] < cuts[t + 1]) count(cuts[t], cuts[t + 1], t == 0, local_[t]);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
    }
    if (failed) throw std::bad_alloc();
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) reduction(|| : failed)
    for (int s = 0; s < kShards; s++) {
      try {
        for (auto& tables : local_) {
          for (const WordTable::Entry& entry : tables[s].entries())
            if (entry.bytes != 0) shards_[s].add(entry.hash, tables[s].word(entry), entry.bytes, entry.count);
          tables[s].clear();
        }
      } catch (const std::bad_alloc&) {
        failed = true;
      }
    }
    if (failed) throw std::bad_alloc();
  }
  const auto memory = [&] {
    size_t sum = 0;
    for (const WordTable& shard : shards_) sum += shard.memory();
    return sum;
  };
  if (memory() <= memory_limit_) return;
  while (memory() > memory_limit_ / 2) {
    pruned_++;
    for (WordTable& shard : shards_) shard.prune(pruned_);
  }
}

// ---- Alphabet and words as symbols -----------------------------------------------------------------------------------

void MergeTrainer::choose_alphabet(const std::vector<WordTable>& shards) {
  std::unordered_map<uint32_t, uint64_t> counts;
  uint64_t total = 0;
  for (const WordTable& shard : shards)
    for (const WordTable::Entry& entry : shard.entries()) {
      const uint8_t* p = shard.word(entry);
      const uint8_t* const end = p + entry.bytes;
      while (p < end) {
        const Char c = decode_char(p, end);
        p += c.bytes;
        if (c.code == kInvalidChar) continue;
        counts[c.code == 0x2581 ? ' ' : c.code] += entry.count;
        total += entry.count;
      }
    }
  std::vector<std::pair<uint32_t, uint64_t>> order(counts.begin(), counts.end());
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  // The space always; then the most frequent characters, in at most half of what the bytes leave of the vocabulary.
  const size_t room = (vocab_size_ - specials_ - 256) / 2;
  alphabet_.push_back(' ');
  uint64_t covered = counts[' '];
  for (const auto& [code, count] : order) {
    if (alphabet_.size() >= room || double(covered) >= kAlphabetCoverage * double(total)) break;
    if (code == ' ') continue;
    alphabet_.push_back(code);
    covered += count;
  }
  std::sort(alphabet_.begin() + 1, alphabet_.end());
}

void MergeTrainer::start(const std::vector<WordTable>& shards) {
  started_ = true;
  tokens_.assign(specials_, "");
  for (int b = 0; b < 256; b++) tokens_.push_back(std::string(1, char(b)));
  if (algorithm_ == Algorithm::kSentencePiece) {
    choose_alphabet(shards);
    // Byte tokens never merge: only characters are known by their text.
    for (const uint32_t code : alphabet_) {
      std::string text;
      if (code < 0x80) {
        text = {char(code)};
      } else if (code < 0x800) {
        text = {char(0xc0 | code >> 6), char(0x80 | (code & 0x3f))};
      } else if (code < 0x10000) {
        text = {char(0xe0 | code >> 12), char(0x80 | (code >> 6 & 0x3f)), char(0x80 | (code & 0x3f))};
      } else {
        text = {char(0xf0 | code >> 18), char(0x80 | (code >> 12 & 0x3f)), char(0x80 | (code >> 6 & 0x3f)),
                char(0x80 | (code & 0x3f))};
      }
      alphabet_ids_[code] = uint32_t(tokens_.size());
      token_ids_[text] = uint32_t(tokens_.size());
      tokens_.push_back(text);
    }
  } else {
    for (uint32_t b = 0; b < 256; b++) token_ids_[tokens_[specials_ + b]] = specials_ + b;
  }
  base_ = uint32_t(tokens_.size());
  for (const WordTable& shard : shards)
    for (const WordTable::Entry& entry : shard.entries())
      if (entry.bytes != 0) add_word(shard.word(entry), entry.bytes, entry.count);
  for (uint32_t w = 0; w < word_starts_.size(); w++) {
    const uint32_t* symbols = symbols_.data() + word_starts_[w];
    for (uint32_t i = 0; i + 1 < word_lengths_[w]; i++) add_pair(symbols[i], symbols[i + 1], word_counts_[w], w, false);
  }
  for (uint32_t pair = 0; pair < pairs_.size(); pair++) push(pair);
}

void MergeTrainer::add_word(const uint8_t* word, size_t bytes, uint64_t count) {
  const uint8_t* const end = word + bytes;
  const size_t start = symbols_.size();
  while (word < end) {
    if (algorithm_ == Algorithm::kByteLevel) {
      symbols_.push_back(specials_ + *word++);
    } else {
      const Char c = decode_char(word, end);
      const auto found = alphabet_ids_.find(c.code == 0x2581 ? ' ' : c.code);
      symbols_.push_back(found == alphabet_ids_.end() ? kNoSymbol : found->second);
      word += c.bytes;
    }
  }
  if (symbols_.size() - start < 2) return symbols_.resize(start);
  word_starts_.push_back(start);
  word_lengths_.push_back(uint32_t(symbols_.size() - start));
  word_counts_.push_back(count);
}

// ---- Merging ---------------------------------------------------------------------------------------------------------

uint32_t MergeTrainer::pair_of(uint32_t left, uint32_t right) {
  const uint64_t key = uint64_t(left) << 32 | right;
  const auto [found, made] = pair_ids_.try_emplace(key, uint32_t(pairs_.size()));
  if (made) pairs_.push_back({key, 0, false, {}});
  return found->second;
}

void MergeTrainer::add_pair(uint32_t left, uint32_t right, uint64_t count, uint32_t word, bool changed) {
  if (left == kNoSymbol || right == kNoSymbol) return;
  const uint32_t id = pair_of(left, right);
  Pair& pair = pairs_[id];
  pair.count += count;
  if (pair.words.empty() || pair.words.back() != word) pair.words.push_back(word);
  if (changed) changed_.push_back(id);
}

void MergeTrainer::take_pair(uint32_t left, uint32_t right, uint64_t count) {
  if (left == kNoSymbol || right == kNoSymbol) return;
  Pair& pair = pairs_[pair_of(left, right)];
  pair.count -= std::min(pair.count, count);
}

bool MergeTrainer::step(uint32_t tokens) {
  const uint32_t goal = uint32_t(std::min<uint64_t>(vocab_size_, uint64_t(size()) + tokens));
  while (size() < goal) {
    if (heap_.empty()) return true;
    std::pop_heap(heap_.begin(), heap_.end());
    Candidate top = heap_.back();
    heap_.pop_back();
    const uint64_t count = pairs_[top.pair].count;
    if (count < min_frequency_ || count == 0) continue;
    if (count != top.count) {
      // Rarer than when it was put here: it waits for its turn. More frequent: a newer candidate was put here then.
      if (count < top.count) {
        top.count = count;
        heap_.push_back(top);
        std::push_heap(heap_.begin(), heap_.end());
      }
      continue;
    }
    merge(top.pair);
  }
  return size() >= vocab_size_;
}

void MergeTrainer::push(uint32_t pair) {
  if (pairs_[pair].count < min_frequency_ || pairs_[pair].count == 0) return;
  heap_.push_back({pairs_[pair].count, pairs_[pair].key, pair});
  std::push_heap(heap_.begin(), heap_.end());
}

void MergeTrainer::merge(uint32_t pair) {
  const uint32_t left = uint32_t(pairs_[pair].key >> 32), right = uint32_t(pairs_[pair].key);
  std::string text = tokens_[left] + tokens_[right];
  const auto [found, made] = token_ids_.try_emplace(text, size());
  const uint32_t result = found->second;
  if (made) tokens_.push_back(std::move(text));
  if (!pairs_[pair].merged) merges_.push_back({left, right, result});

  std::vector<uint32_t> words;
  words.swap(pairs_[pair].words);
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  changed_.clear();
  for (const uint32_t word : words) merge_word(word, left, right, result);
  pairs_[pair].count = 0;
  pairs_[pair].merged = true;
  std::sort(changed_.begin(), changed_.end());
  changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
  for (const uint32_t id : changed_)
    if (id != pair) push(id);
}

void MergeTrainer::merge_word(uint32_t word, uint32_t left, uint32_t right, uint32_t result) {
  uint32_t* const symbols = symbols_.data() + word_starts_[word];
  const uint64_t count = word_counts_[word];
  const uint32_t length = word_lengths_[word];
  uint32_t kept = 0;
  for (uint32_t i = 0; i < length; kept++) {
    if (i + 1 >= length || symbols[i] != left || symbols[i + 1] != right) {
      symbols[kept] = symbols[i++];
      continue;
    }
    // symbols[kept - 1] is as the merge leaves it, symbols[i + 2] still as it was.
    if (kept > 0) {
      take_pair(symbols[kept - 1], left, count);
      add_pair(symbols[kept - 1], result, count, word, true);
    }
    if (i + 2 < length) {
      take_pair(right, symbols[i + 2], count);
      add_pair(result, symbols[i + 2], count, word, true);
    }
    symbols[kept] = result;
    i += 2;
  }
  word_lengths_[word] = kept;
}

}  // namespace titanbit
