// Documents to ids and back, over one TokenizerModel.
//
// Contract
//   encode: the ids that Hugging Face's `tokenizers` gives without its post-processor: added tokens of the raw text first,
//   then those of the normalized text, then the split and byte-pair merging of what lies between.
//   A SentencePiece text has no words, so it is cut wherever no merge could cross: that changes no id and makes its
//   pieces short enough to be remembered.
//   decode: strip takes the decoder's space off the beginning; replace turns a run of byte tokens that is no UTF-8 into one
//   U+FFFD a token (SentencePiece). Bytes that are no UTF-8 otherwise stay as they are.
#include "tokenizer_encode.h"

#include <algorithm>
#include <cstring>

namespace titanbit {

// ---- Added tokens ----------------------------------------------------------------------------------------------------

void AddedTokenFinder::add(const AddedToken* token, std::string content) {
  if (!content.empty()) entries_.push_back({std::move(content), token});
}

void AddedTokenFinder::finish() {
  const auto key = [](const Entry& e) {
    return uint8_t(e.content[0]) << 8 | (e.content.size() > 1 ? uint8_t(e.content[1]) : 0);
  };
  // Equal contents: the one added last wins, and stands first.
  std::reverse(entries_.begin(), entries_.end());
  std::stable_sort(entries_.begin(), entries_.end(), [&](const Entry& a, const Entry& b) {
    return key(a) != key(b) ? key(a) < key(b) : a.content.size() > b.content.size();
  });
  buckets_.assign(65537, 0);
  single_.assign(256, 0);
  int firsts = 0;
  for (size_t i = 0; i < entries_.size(); i++) {
    const int first = uint8_t(entries_[i].content[0]);
    if (first_[first] == 0) {
      firsts++;
      only_first_ = first;
    }
    if (entries_[i].content.size() == 1) {
      if ((first_[first] & 2) == 0) single_[first] = uint32_t(i);
      first_[first] |= 2;
    } else {
      first_[first] |= 1;
    }
    buckets_[key(entries_[i]) + 1]++;
  }
  if (firsts != 1) only_first_ = -1;
  for (size_t i = 0; i < 65536; i++) buckets_[i + 1] += buckets_[i];
}

AddedTokenFinder::Match AddedTokenFinder::find(const uint8_t* p, const uint8_t* end, bool skip_special) const {
  if (entries_.empty()) return {end, end, nullptr};
  for (; p < end; p++) {
    if (only_first_ >= 0) {
      p = static_cast<const uint8_t*>(memchr(p, only_first_, size_t(end - p)));
      if (p == nullptr) return {end, end, nullptr};
    } else if (first_[*p] == 0) {
      continue;
    }
    const Entry* found = nullptr;
    const auto hidden = [&](const Entry& entry) { return skip_special && entry.token->special; };
    if ((first_[*p] & 1) && end - p > 1) {
      const size_t key = size_t(p[0]) << 8 | p[1];
      for (uint32_t i = buckets_[key]; i < buckets_[key + 1] && found == nullptr; i++) {
        const std::string& content = entries_[i].content;
        if (content.size() > 1 && content.size() <= size_t(end - p) && memcmp(content.data(), p, content.size()) == 0 &&
            !hidden(entries_[i]))
          found = &entries_[i];
      }
    }
    if (found == nullptr && (first_[*p] & 2) && !hidden(entries_[single_[*p]])) found = &entries_[single_[*p]];
    if (found != nullptr) return {p, p + found->content.size(), found->token};
  }
  return {end, end, nullptr};
}

// ---- Cache -----------------------------------------------------------------------------------------------------------

WordCache::WordCache() : short_(size_t(1) << 12), long_(kMostLong) {}

WordCache::Short* WordCache::find(uint64_t low, uint64_t high) {
  const size_t mask = short_.size() - 1;
  size_t slot = size_t(mix(low, high)) & mask;
  while ((short_[slot].low != low || short_[slot].high != high) && short_[slot].high != 0) slot = (slot + 1) & mask;
  return &short_[slot];
}

void WordCache::insert(Short* entry, uint64_t low, uint64_t high, const std::vector<uint32_t>& ids) {
  if (2 * short_count_ >= short_.size()) {
    grow();
    entry = find(low, high);
  }
  uint32_t at = 0;
  if (ids.size() > 3) {
    if (arena_.size() + ids.size() > kMostSpilled) {
      std::fill(short_.begin(), short_.end(), Short{});
      std::fill(long_.begin(), long_.end(), Long{});
      arena_.clear();
      words_.clear();
      short_count_ = long_count_ = 0;
      entry = find(low, high);
    }
    at = spill(ids);
  }
  *entry = {low, high, {at, 0, 0}, uint32_t(ids.size())};
  if (ids.size() <= 3) std::copy(ids.begin(), ids.end(), entry->ids);
  short_count_++;
}

void WordCache::grow() {
  if (short_.size() >= kMostShort) {
    std::fill(short_.begin(), short_.end(), Short{});
    short_count_ = 0;
    return;
  }
  std::vector<Short> old(4 * short_.size());
  old.swap(short_);
  for (const Short& entry : old)
    if (entry.high != 0) *find(entry.low, entry.high) = entry;
}

uint32_t WordCache::spill(const std::vector<uint32_t>& ids) {
  const uint32_t at = uint32_t(arena_.size());
  arena_.insert(arena_.end(), ids.begin(), ids.end());
  return at;
}

const WordCache::Long* WordCache::find(uint64_t hash, const uint8_t* word, size_t bytes) const {
  const size_t mask = long_.size() - 1;
  for (size_t slot = size_t(hash) & mask; long_[slot].bytes != 0; slot = (slot + 1) & mask)
    if (long_[slot].hash == hash && long_[slot].bytes == bytes &&
        memcmp(words_.data() + long_[slot].word, word, bytes) == 0)
      return &long_[slot];
  return nullptr;
}

void WordCache::insert(uint64_t hash, const uint8_t* word, size_t bytes, const std::vector<uint32_t>& ids) {
  if (2 * long_count_ >= long_.size() || arena_.size() + ids.size() > kMostSpilled) {
    std::fill(long_.begin(), long_.end(), Long{});
    words_.clear();
    long_count_ = 0;
    if (arena_.size() + ids.size() > kMostSpilled) {
      std::fill(short_.begin(), short_.end(), Short{});
      arena_.clear();
      short_count_ = 0;
    }
  }
  const size_t mask = long_.size() - 1;
  size_t slot = size_t(hash) & mask;
  while (long_[slot].bytes != 0) slot = (slot + 1) & mask;
  const uint32_t at = uint32_t(words_.size());
  words_.insert(words_.end(), word, word + bytes);
  long_[slot] = {hash, at, spill(ids), uint32_t(bytes), uint32_t(ids.size())};
  long_count_++;
}

// ---- Encoding --------------------------------------------------------------------------------------------------------

namespace {

constexpr uint8_t kMetaspace[3] = {0xe2, 0x96, 0x81};  // U+2581

bool begins_with_space(const uint8_t* p, const uint8_t* end, bool metaspace) {
  return *p == ' ' || (metaspace && end - p >= 3 && memcmp(p, kMetaspace, 3) == 0);
}

// The text after Prepend and Replace, as normalized added tokens see it; so are their contents.
void normalize(const uint8_t* p, const uint8_t* end, bool prefix, std::vector<uint8_t>& out) {
  out.clear();
  if (prefix && p < end) out.insert(out.end(), kMetaspace, kMetaspace + 3);
  for (; p < end; p++) {
    if (*p == ' ')
      out.insert(out.end(), kMetaspace, kMetaspace + 3);
    else
      out.push_back(*p);
  }
}

}  // namespace

std::string TokenizerCoder::build(const uint8_t* spec, size_t count) {
  std::string error = model_.build(spec, count);
  if (!error.empty()) return error;
  const TokenizerSpec& s = model_.spec();
  for (const AddedToken& token : s.added) {
    if (!token.normalized) {
      raw_added_.add(&token, token.content);
    } else if (!s.normalizes) {
      normalized_added_.add(&token, token.content);
    } else {
      const uint8_t* content = reinterpret_cast<const uint8_t*>(token.content.data());
      normalize(content, content + token.content.size(), s.prefix == Prefix::kAlways, normalized_);
      normalized_added_.add(&token, std::string(normalized_.begin(), normalized_.end()));
    }
  }
  raw_added_.finish();
  normalized_added_.finish();
  return "";
}

namespace {

// Calls plain(start, end) for the text between added tokens and puts the ids of those. As `tokenizers` does, a token that
// strips its left side takes white space back to the end of the match before it, and matches are looked for right behind a
// token, even in white space that its right side strips: one that ends in there leaves the rest of it to the text.
template <typename Plain>
void split_added(const AddedTokenFinder& finder, const CharClasses& classes, const uint8_t* p, const uint8_t* end,
                 bool specials_as_text, IdWriter& out, Plain plain) {
  const uint8_t* from = p;
  while (p < end) {
    const AddedTokenFinder::Match match = finder.find(p, end, specials_as_text);
    if (match.token == nullptr) break;
    const uint8_t* start = match.start;
    const uint8_t* stop = p = match.end;
    if (match.token->strip_left) {
      while (start > from) {
        const uint8_t* q = start - 1;
        while (q > from && is_continuation(*q)) q--;
        if ((classes.of(decode_char(q, start).code) & kSpace) == 0) break;
        start = q;
      }
    }
    if (match.token->strip_right) stop = classes.run_of(kSpace, stop, end);
    if (start > from) plain(from, start);
    out.put(match.token->id);
    from = stop;
  }
  if (from < end) plain(from, end);
}

}  // namespace

void TokenizerCoder::encode(const uint8_t* text, size_t count, bool specials_as_text, IdWriter& out) {
  const uint8_t* const end = text + count;
  split_added(raw_added_, model_.classes(), text, end, specials_as_text, out,
              [&](const uint8_t* p, const uint8_t* q) { raw_piece(p, q, p == text, specials_as_text, out); });
}

void TokenizerCoder::raw_piece(const uint8_t* p, const uint8_t* end, bool first, bool specials_as_text, IdWriter& out) {
  const TokenizerSpec& s = model_.spec();
  if (normalized_added_.empty()) {
    piece(p, end, s.prefix, first, out);
  } else if (!s.normalizes) {
    split_added(normalized_added_, model_.classes(), p, end, specials_as_text, out,
                [&](const uint8_t* a, const uint8_t* b) { piece(a, b, s.prefix, first && a == p, out); });
  } else {
    normalize(p, end, s.prefix == Prefix::kAlways, normalized_);
    const uint8_t* const start = normalized_.data();
    split_added(normalized_added_, model_.classes(), start, start + normalized_.size(), specials_as_text, out,
                [&](const uint8_t* a, const uint8_t* b) { piece(a, b, Prefix::kNone, first, out); });
  }
}

void TokenizerCoder::piece(const uint8_t* p, const uint8_t* end, Prefix prefix, bool first, IdWriter& out) {
  const TokenizerSpec& s = model_.spec();
  const bool sentence_piece = s.algorithm == Algorithm::kSentencePiece;
  const bool spaced = prefix == Prefix::kAlways ||
                      (prefix != Prefix::kNone && (prefix == Prefix::kUnlessSpace || first) &&
                       !begins_with_space(p, end, sentence_piece));
  if (sentence_piece) return segments(p, end, spaced, out);
  if (spaced) {
    // Only the text's first word can change: a copy of the whole would cost more than it is worth, but this is rare.
    spaced_.assign(1, ' ');
    spaced_.insert(spaced_.end(), p, end);
    p = spaced_.data();
    end = p + spaced_.size();
  }
  switch (s.split) {
    case Split::kNone: return word(p, size_t(end - p), end, out);
    case Split::kGpt2: return words<Gpt2Split>(p, end, out);
    case Split::kCl100k: return words<Cl100kSplit<3>>(p, end, out);
    case Split::kCl100kOneDigit: return words<Cl100kSplit<1>>(p, end, out);
    case Split::kO200k: return words<O200kSplit>(p, end, out);
  }
}

template <typename Splitter>
void TokenizerCoder::words(const uint8_t* p, const uint8_t* end, IdWriter& out) {
  const CharClasses& classes = model_.classes();
  while (p < end) {
    const uint8_t* next = Splitter::next(classes, p, end);
    word(p, size_t(next - p), end, out);
    p = next;
  }
}

// One segment; open: a virtual space stands before it.
inline void TokenizerCoder::segment(const uint8_t* p, const uint8_t* q, bool open, const uint8_t* end, IdWriter& out) {
  if (!open) return word(p, size_t(q - p), end, out);
  spaced_.assign(1, ' ');
  spaced_.insert(spaced_.end(), p, q);
  word(spaced_.data(), spaced_.size(), spaced_.data() + spaced_.size(), out);
}

void TokenizerCoder::segments(const uint8_t* p, const uint8_t* end, bool spaced, IdWriter& out) {
  const bool cut_at_spaces = model_.spec().split_before_space;
  const uint8_t* start = p;
  uint32_t left = spaced ? ' ' : kInvalidChar;
  bool open = spaced;  // a virtual space stands before `start`
  while (p < end) {
    const Char c = decode_char(p, end);
    const uint32_t code = c.code == 0x2581 ? ' ' : c.code;
    const bool cut = left == kInvalidChar || code == kInvalidChar || !model_.joins(left, code) ||
                     (cut_at_spaces && code == ' ');
    if (cut && (open || p > start)) {
      segment(start, p, open, end, out);
      open = false;
      start = p;
    }
    left = code;
    p += c.bytes;
  }
  if (open || p > start) segment(start, p, open, end, out);
}

inline void TokenizerCoder::word(const uint8_t* p, size_t count, const uint8_t* end, IdWriter& out) {
  if (count <= WordCache::kShortest) {
    uint64_t low = 0, high = 0;
    if (end - p >= 16) {
      memcpy(&low, p, 8);
      memcpy(&high, p + 8, 8);
      const unsigned bits = unsigned(count) * 8;
      if (count < 8) {
        low &= (uint64_t(1) << bits) - 1;
        high = 0;
      } else {
        high &= (uint64_t(1) << (bits - 64)) - 1;
      }
    } else {
      memcpy(&low, p, count < 8 ? count : 8);
      if (count > 8) memcpy(&high, p + 8, count - 8);
    }
    high |= uint64_t(count) << 56;
    WordCache::Short* entry = cache_.find(low, high);
    if (entry->high == 0) {
      const std::vector<uint32_t>& ids = merger_.encode(p, count);
      out.put(ids.data(), ids.size());
      cache_.insert(entry, low, high, ids);
    } else {
      out.put(entry->count <= 3 ? entry->ids : cache_.spilled(entry->ids[0]), entry->count);
    }
    return;
  }
  if (count > WordCache::kLongest) {
    const std::vector<uint32_t>& ids = merger_.encode(p, count);
    return out.put(ids.data(), ids.size());
  }
  const uint64_t hash = hash_bytes(p, count);
  const WordCache::Long* entry = cache_.find(hash, p, count);
  if (entry != nullptr) return out.put(cache_.spilled(entry->ids), entry->count);
  const std::vector<uint32_t>& ids = merger_.encode(p, count);
  out.put(ids.data(), ids.size());
  cache_.insert(hash, p, count, ids);
}

// ---- Decoding --------------------------------------------------------------------------------------------------------

void TokenizerCoder::decode(const uint32_t* ids, size_t count, bool strip, bool replace, std::vector<uint8_t>& out) const {
  const TokenizerSpec& s = model_.spec();
  out.clear();
  const auto flush_bytes = [&](size_t from) {
    const uint8_t* p = out.data() + from;
    const uint8_t* const end = out.data() + out.size();
    const size_t bytes = size_t(end - p);
    while (p < end) {
      const Char c = decode_char(p, end);
      if (c.code == kInvalidChar) {
        out.resize(from);
        for (size_t i = 0; i < bytes; i++) out.insert(out.end(), {0xef, 0xbf, 0xbd});
        return;
      }
      p += c.bytes;
    }
  };
  size_t run = SIZE_MAX;  // where the run of byte tokens began
  for (size_t i = 0; i < count; i++) {
    const bool byte = s.types[ids[i]] == TokenType::kByte;
    if (replace && s.byte_fallback_decode && byte != (run != SIZE_MAX)) {
      if (!byte) flush_bytes(run);
      run = byte ? out.size() : SIZE_MAX;
    }
    const uint8_t* token = s.token(ids[i]);
    const size_t length = s.length(ids[i]);
    out.insert(out.end(), token, token + length);
  }
  if (run != SIZE_MAX) flush_bytes(run);
  if (strip && s.strip_space && !out.empty() && out[0] == ' ') out.erase(out.begin());
}

}  // namespace titanbit
