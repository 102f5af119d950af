// The vocabulary and merges of one tokenizer, and byte-pair merging of one word.
//
// Contract
//   encode() gives what repeated application of the merge of lowest rank, leftmost first, gives. Words of up to 64 symbols
//   search their ranks anew for each merge; longer ones keep a heap of (rank, position): O(n log n) for a run of a million
//   equal letters.
//   SentencePiece: a character without a token becomes its bytes' tokens. joins() is exact where it says false: every
//   token longer than one character is a merge's result, and the pairs inside all results are marked.
#include "tokenizer_model.h"

#include <algorithm>
#include <cstring>

namespace titanbit {

// ---- Spec ------------------------------------------------------------------------------------------------------------

namespace {

constexpr uint32_t kMagic = 0x314b4254;  // "TBK1"
constexpr size_t kHeaderWords = 16;

size_t padded(size_t bytes) { return (bytes + 3) & ~size_t(3); }

}  // namespace

uint64_t hash_bytes(const uint8_t* bytes, size_t count) {
  uint64_t h = count;
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    uint64_t word;
    memcpy(&word, bytes + i, 8);
    h = mix(h, word);
  }
  uint64_t tail = 0;
  if (i < count) memcpy(&tail, bytes + i, count - i);
  return mix(h, tail);
}

std::string TokenizerSpec::parse(const uint8_t* spec, size_t count) {
  uint32_t header[kHeaderWords];
  if (count < sizeof header) return "the specification is shorter than its header";
  memcpy(header, spec, sizeof header);
  if (header[0] != kMagic) return "the specification has another magic number";
  if (header[1] > 1 || header[2] > 4 || header[4] > 3) return "the specification has an unknown option";
  algorithm = Algorithm(header[1]);
  split = Split(header[2]);
  ignore_merges = header[3] != 0;
  prefix = Prefix(header[4]);
  split_before_space = header[5] != 0;
  strip_space = header[6] != 0;
  byte_fallback_decode = header[7] != 0;
  const size_t tokens = header[8], merge_count = header[9], added_count = header[10];
  const size_t token_bytes = header[11], added_bytes = header[12];
  normalizes = header[13] != 0;
  const size_t wanted = sizeof header + padded(tokens) + 4 * (tokens + 1) + padded(token_bytes) + 12 * merge_count +
                        12 * added_count + added_bytes;
  if (count != wanted) return "the specification's length is not what its header says";
  if (tokens == 0) return "the vocabulary is empty";
  if (algorithm == Algorithm::kSentencePiece && ignore_merges) return "only words of a split can ignore merges";

  const uint8_t* at = spec + sizeof header;
  types.resize(tokens);
  memcpy(types.data(), at, tokens);
  at += padded(tokens);
  offsets.resize(tokens + 1);
  memcpy(offsets.data(), at, 4 * (tokens + 1));
  at += 4 * (tokens + 1);
  if (offsets[0] != 0 || offsets[tokens] != token_bytes || !std::is_sorted(offsets.begin(), offsets.end()))
    return "the tokens' offsets are out of order";
  bytes.assign(at, at + token_bytes);
  at += padded(token_bytes);
  merges.resize(3 * merge_count);
  if (merge_count > 0) memcpy(merges.data(), at, 12 * merge_count);
  at += 12 * merge_count;
  for (const uint32_t id : merges)
    if (id >= tokens) return "a merge names an id beyond the vocabulary";

  const uint8_t* text = at + 12 * added_count;
  const uint8_t* const end = spec + count;
  for (size_t i = 0; i < added_count; i++, at += 12) {
    uint32_t entry[3];
    memcpy(entry, at, 12);
    if (entry[0] >= tokens || entry[2] == 0 || entry[2] > size_t(end - text)) return "an added token is out of range";
    added.push_back({entry[0], (entry[1] & 1) != 0, (entry[1] & 2) != 0, (entry[1] & 4) != 0, (entry[1] & 8) != 0,
                     std::string(reinterpret_cast<const char*>(text), entry[2])});
    text += entry[2];
  }
  return "";
}

// ---- Merges ----------------------------------------------------------------------------------------------------------

void MergeTable::build(const std::vector<uint32_t>& triples) {
  size_t capacity = 16;
  while (capacity < 2 * (triples.size() / 3)) capacity *= 2;
  entries_.assign(capacity, Entry{~uint64_t(0), kNone, 0});
  mask_ = capacity - 1;
  for (size_t i = 0; i < triples.size(); i += 3) {
    const uint64_t key = uint64_t(triples[i]) << 32 | triples[i + 1];
    size_t slot = size_t(mix(key, 0)) & mask_;
    while (entries_[slot].key != key && entries_[slot].rank != kNone) slot = (slot + 1) & mask_;
    entries_[slot] = {key, uint32_t(i / 3), triples[i + 2]};  // a repeated pair keeps its last rank
  }
}

// ---- Model -----------------------------------------------------------------------------------------------------------

std::string TokenizerModel::build(const uint8_t* spec, size_t count) {
  std::string error = spec_.parse(spec, count);
  if (!error.empty()) return error;
  merges_.build(spec_.merges);
  return spec_.algorithm == Algorithm::kByteLevel ? build_words() : build_characters();
}

std::string TokenizerModel::build_words() {
  std::fill(byte_ids_, byte_ids_ + 256, MergeTable::kNone);
  for (uint32_t id = 0; id < spec_.size(); id++)
    if (spec_.types[id] == TokenType::kNormal && spec_.length(id) == 1) byte_ids_[spec_.token(id)[0]] = id;
  for (int b = 0; b < 256; b++)
    if (byte_ids_[b] == MergeTable::kNone) return "a byte has no token of its own: " + std::to_string(b);
  if (!spec_.ignore_merges) return "";
  size_t capacity = 16;
  while (capacity < 2 * spec_.size()) capacity *= 2;
  words_.assign(capacity, 0);
  for (uint32_t id = 0; id < spec_.size(); id++) {
    if (spec_.types[id] != TokenType::kNormal) continue;
    size_t slot = size_t(hash_bytes(spec_.token(id), spec_.length(id))) & (capacity - 1);
    while (words_[slot] != 0) slot = (slot + 1) & (capacity - 1);
    words_[slot] = id + 1;
  }
  return "";
}

std::string TokenizerModel::build_characters() {
  std::fill(byte_ids_, byte_ids_ + 256, MergeTable::kNone);
  char_ids_.assign(kInvalidChar + 1, 0);
  ascii_joins_.assign(128 * 128, 0);
  other_joins_.assign((size_t(1) << kJoinBits) / 64, 0);
  for (uint32_t id = 0; id < spec_.size(); id++) {
    const uint8_t* token = spec_.token(id);
    const size_t length = spec_.length(id);
    if (spec_.types[id] == TokenType::kByte && length == 1) byte_ids_[token[0]] = id;
    if (spec_.types[id] != TokenType::kNormal || length == 0) continue;
    const Char c = decode_char(token, token + length);
    if (c.code != kInvalidChar && c.bytes == length) char_ids_[c.code] = id + 1;
  }
  for (int b = 0; b < 256; b++)
    if (byte_ids_[b] == MergeTable::kNone) return "a byte has no token of its own: " + std::to_string(b);
  if (char_ids_[' '] == 0) return "the space character has no token";
  char_ids_[0x2581] = char_ids_[' '];
  for (size_t i = 2; i < spec_.merges.size(); i += 3)
    add_joins(spec_.token(spec_.merges[i]), spec_.length(spec_.merges[i]));
  return "";
}

void TokenizerModel::add_joins(const uint8_t* token, size_t count) {
  const uint8_t* const end = token + count;
  uint32_t left = kInvalidChar;
  while (token < end) {
    const Char c = decode_char(token, end);
    if (left != kInvalidChar) {
      if ((left | c.code) < 0x80) ascii_joins_[left << 7 | c.code] = 1;
      const uint64_t bit = join_bit(left, c.code);
      other_joins_[bit >> 6] |= uint64_t(1) << (bit & 63);
    }
    left = c.code;
    token += c.bytes;
  }
}

uint32_t TokenizerModel::word_id(const uint8_t* word, size_t count) const {
  const size_t mask = words_.size() - 1;
  size_t slot = size_t(hash_bytes(word, count)) & mask;
  for (; words_[slot] != 0; slot = (slot + 1) & mask) {
    const uint32_t id = words_[slot] - 1;
    if (spec_.length(id) == count && memcmp(spec_.token(id), word, count) == 0) return id;
  }
  return MergeTable::kNone;
}

void TokenizerModel::symbols(const uint8_t* word, size_t count, std::vector<uint32_t>& ids) const {
  const uint8_t* const end = word + count;
  if (spec_.algorithm == Algorithm::kByteLevel) {
    for (; word < end; word++) ids.push_back(byte_ids_[*word]);
    return;
  }
  while (word < end) {
    const Char c = decode_char(word, end);
    const uint32_t id = char_ids_[c.code];
    if (id != 0)
      ids.push_back(id - 1);
    else
      for (uint32_t i = 0; i < c.bytes; i++) ids.push_back(byte_ids_[word[i]]);
    word += c.bytes;
  }
}

// ---- Merging ---------------------------------------------------------------------------------------------------------

const std::vector<uint32_t>& Merger::encode(const uint8_t* word, size_t count) {
  ids_.clear();
  if (model_.spec().ignore_merges) {
    const uint32_t id = model_.word_id(word, count);
    if (id != MergeTable::kNone) {
      ids_.push_back(id);
      return ids_;
    }
  }
  model_.symbols(word, count, ids_);
  if (ids_.size() <= 1) return ids_;
  ranks_.resize(ids_.size());
  results_.resize(ids_.size());
  for (size_t i = 0; i + 1 < ids_.size(); i++) {
    const MergeTable::Entry& entry = model_.merges().find(ids_[i], ids_[i + 1]);
    ranks_[i] = entry.rank;
    results_[i] = entry.result;
  }
  ranks_.back() = MergeTable::kNone;
  if (ids_.size() <= 64)
    merge_short();
  else
    merge_long();
  return ids_;
}

void Merger::merge_short() {
  size_t n = ids_.size();
  const MergeTable& merges = model_.merges();
  for (;;) {
    size_t best = 0;
    uint32_t rank = ranks_[0];
    for (size_t i = 1; i + 1 < n; i++)
      if (ranks_[i] < rank) {
        rank = ranks_[i];
        best = i;
      }
    if (n < 2 || rank == MergeTable::kNone) break;
    ids_[best] = results_[best];
    for (size_t i = best + 1; i + 1 < n; i++) {
      ids_[i] = ids_[i + 1];
      ranks_[i] = ranks_[i + 1];
      results_[i] = results_[i + 1];
    }
    n--;
    ranks_[n - 1] = MergeTable::kNone;
    if (best > 0) {
      const MergeTable::Entry& entry = merges.find(ids_[best - 1], ids_[best]);
      ranks_[best - 1] = entry.rank;
      results_[best - 1] = entry.result;
    }
    if (best + 1 < n) {
      const MergeTable::Entry& entry = merges.find(ids_[best], ids_[best + 1]);
      ranks_[best] = entry.rank;
      results_[best] = entry.result;
    }
  }
  ids_.resize(n);
}

void Merger::merge_long() {
  const uint32_t n = uint32_t(ids_.size());
  const MergeTable& merges = model_.merges();
  next_.resize(n);
  previous_.resize(n);
  heap_.clear();
  for (uint32_t i = 0; i < n; i++) {
    next_[i] = i + 1;
    previous_[i] = i - 1;
    if (ranks_[i] != MergeTable::kNone) heap_.push_back(uint64_t(ranks_[i]) << 32 | i);
  }
  const auto later = std::greater<uint64_t>();
  std::make_heap(heap_.begin(), heap_.end(), later);
  const auto update = [&](uint32_t at) {
    const MergeTable::Entry& entry = merges.find(ids_[at], ids_[next_[at]]);
    ranks_[at] = entry.rank;
    results_[at] = entry.result;
    if (entry.rank == MergeTable::kNone) return;
    heap_.push_back(uint64_t(entry.rank) << 32 | at);
    std::push_heap(heap_.begin(), heap_.end(), later);
  };
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const uint32_t at = uint32_t(heap_.back()), rank = uint32_t(heap_.back() >> 32);
    heap_.pop_back();
    if (ranks_[at] != rank) continue;  // merged away or changed since
    const uint32_t gone = next_[at], after = next_[gone];
    ids_[at] = results_[at];
    ranks_[gone] = MergeTable::kNone;
    next_[at] = after;
    if (after < n) {
      previous_[after] = at;
      update(at);
    } else {
      ranks_[at] = MergeTable::kNone;
    }
    if (at > 0) update(previous_[at]);
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i < n; i = next_[i]) ids_[kept++] = ids_[i];
  ids_.resize(kept);
}

}  // namespace titanbit
