// Reading text: UTF-8, character classes, and the splits of byte-level tokenizers.
//
// Contract
//   decode_char reads one character; a byte that begins no well-formed sequence (Unicode 16, table 3-7) is a character of
//   one byte, kInvalidChar, which has no class. Nothing is read at or beyond `end`.
//   A splitter takes the rest of a text and returns the end of its first word: exactly what the pattern's first match
//   covers, for these patterns as they stand in published tokenizer.json files:
//     Gpt2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//     Cl100k  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,k}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
//             \s+(?!\S)|\s+                                                         k = 3 (Llama 3), 1 (Qwen 2)
//     O200k   as Cl100k with k = 3, words in the form [upper]*[lower]+ or [upper]+[lower]* that own their contraction,
//             and [\r\n/]* after punctuation
//   Every pattern matches at every position, and the time is linear in the text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "unicode_classes.h"

namespace titanbit {

constexpr uint32_t kInvalidChar = 0x110000;

struct Char {
  uint32_t code;
  uint32_t bytes;
};

inline bool is_continuation(uint8_t byte) { return (byte & 0xc0) == 0x80; }

inline Char decode_char(const uint8_t* p, const uint8_t* end) {
  const uint8_t a = p[0];
  const ptrdiff_t left = end - p;
  if (a < 0x80) return {a, 1};
  if (a >= 0xc2 && a < 0xe0) {
    if (left >= 2 && is_continuation(p[1])) return {uint32_t(a & 0x1f) << 6 | (p[1] & 0x3f), 2};
  } else if (a >= 0xe0 && a < 0xf0) {
    const uint8_t low = a == 0xe0 ? 0xa0 : 0x80, high = a == 0xed ? 0x9f : 0xbf;
    if (left >= 3 && p[1] >= low && p[1] <= high && is_continuation(p[2]))
      return {uint32_t(a & 0x0f) << 12 | uint32_t(p[1] & 0x3f) << 6 | (p[2] & 0x3f), 3};
  } else if (a >= 0xf0 && a < 0xf5) {
    const uint8_t low = a == 0xf0 ? 0x90 : 0x80, high = a == 0xf4 ? 0x8f : 0xbf;
    if (left >= 4 && p[1] >= low && p[1] <= high && is_continuation(p[2]) && is_continuation(p[3]))
      return {uint32_t(a & 0x07) << 18 | uint32_t(p[1] & 0x3f) << 12 | uint32_t(p[2] & 0x3f) << 6 | (p[3] & 0x3f), 4};
  }
  return {kInvalidChar, 1};
}

// One byte a code point (UnicodeClass bits), kInvalidChar included.
class CharClasses {
 public:
  CharClasses() : bits_(kInvalidChar + 1, 0) {
    for (int i = 0; i < kUnicodeRangeCount; i++) {
      const UnicodeRange& range = kUnicodeRanges[i];
      for (uint32_t c = 0; c < range.count; c++) bits_[range.first + c] = range.bits;
    }
  }

  uint8_t of(uint32_t code) const { return bits_[code]; }

  // End of the run of characters from p on that have any of `wanted`.
  const uint8_t* run_of(uint8_t wanted, const uint8_t* p, const uint8_t* end) const {
    while (p < end) {
      if (*p < 0x80) {
        if ((bits_[*p] & wanted) == 0) break;
        p++;
      } else {
        const Char c = decode_char(p, end);
        if ((bits_[c.code] & wanted) == 0) break;
        p += c.bytes;
      }
    }
    return p;
  }

  // End of the run of characters from p on that have none of `unwanted`.
  const uint8_t* run_without(uint8_t unwanted, const uint8_t* p, const uint8_t* end) const {
    while (p < end) {
      if (*p < 0x80) {
        if ((bits_[*p] & unwanted) != 0) break;
        p++;
      } else {
        const Char c = decode_char(p, end);
        if ((bits_[c.code] & unwanted) != 0) break;
        p += c.bytes;
      }
    }
    return p;
  }

  // \s+(?!\S)|\s+ at p, a white space: the run, without its last character where text follows and another one is left.
  const uint8_t* spaces(const uint8_t* p, const uint8_t* end) const {
    const uint8_t* last = p;
    const uint8_t* q = p;
    while (q < end) {
      const Char c = decode_char(q, end);
      if ((bits_[c.code] & kSpace) == 0) return last > p ? last : q;
      last = q;
      q += c.bytes;
    }
    return end;
  }

  // \s*[\r\n]+|\s+(?!\S)|\s+ at p, a white space: up to the run's last line break, if it has one.
  const uint8_t* lines_or_spaces(const uint8_t* p, const uint8_t* end) const {
    const uint8_t* last = p;
    const uint8_t* line_end = nullptr;
    const uint8_t* q = p;
    while (q < end) {
      const Char c = decode_char(q, end);
      if ((bits_[c.code] & kSpace) == 0) break;
      last = q;
      q += c.bytes;
      if (c.code == '\n' || c.code == '\r') line_end = q;
    }
    if (line_end != nullptr) return line_end;
    return q == end || last == p ? q : last;
  }

 private:
  std::vector<uint8_t> bits_;
};

// Bytes of 's 't 're 've 'm 'll 'd at p, 0 for none.
inline size_t contraction(const uint8_t* p, const uint8_t* end) {
  if (end - p < 2 || p[0] != '\'') return 0;
  const uint8_t a = p[1];
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if (end - p < 3) return 0;
  const uint8_t b = p[2];
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

// The same in any case; the long s (U+017F) folds to s.
inline size_t contraction_any_case(const uint8_t* p, const uint8_t* end) {
  if (end - p < 2 || p[0] != '\'') return 0;
  const uint8_t a = p[1] | 0x20;
  if (p[1] < 0x80 && (a == 's' || a == 't' || a == 'm' || a == 'd')) return 2;
  if (end - p < 3) return 0;
  if (p[1] == 0xc5 && p[2] == 0xbf) return 3;
  if (p[1] >= 0x80 || p[2] >= 0x80) return 0;
  const uint8_t b = p[2] | 0x20;
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

struct Gpt2Split {
  static const uint8_t* next(const CharClasses& classes, const uint8_t* p, const uint8_t* end) {
    if (*p == '\'') {
      const size_t n = contraction(p, end);
      if (n != 0) return p + n;
    }
    const uint8_t* q = p + (*p == ' ' && end - p > 1);
    const uint8_t bits = classes.of(decode_char(q, end).code);
    if (bits & kLetter) return classes.run_of(kLetter, q, end);
    if (bits & kNumber) return classes.run_of(kNumber, q, end);
    if (bits & kSpace) return classes.spaces(p, end);
    return classes.run_without(kLetter | kNumber | kSpace, q, end);
  }
};

template <int kDigits>
struct Cl100kSplit {
  static const uint8_t* next(const CharClasses& classes, const uint8_t* p, const uint8_t* end) {
    const Char first = decode_char(p, end);
    const uint8_t bits = classes.of(first.code);
    if (bits & kLetter) return classes.run_of(kLetter, p, end);
    if (bits & kNumber) return number(classes, p, end);
    if (first.code == '\'') {
      const size_t n = contraction_any_case(p, end);
      if (n != 0) return p + n;
    }
    const uint8_t* q = p + first.bytes;
    const uint8_t next_bits = q < end ? classes.of(decode_char(q, end).code) : uint8_t(kSpace);
    if ((next_bits & kLetter) && first.code != '\n' && first.code != '\r') return classes.run_of(kLetter, q, end);
    return rest(classes, p, end, bits, first.code, next_bits, false);
  }

  static const uint8_t* number(const CharClasses& classes, const uint8_t* p, const uint8_t* end) {
    for (int i = 0; i < kDigits && p < end; i++) {
      const Char c = decode_char(p, end);
      if ((classes.of(c.code) & kNumber) == 0) break;
      p += c.bytes;
    }
    return p;
  }

  // The alternatives after the numbers: punctuation with its line breaks, then white space.
  static const uint8_t* rest(const CharClasses& classes, const uint8_t* p, const uint8_t* end, uint8_t bits, uint32_t code,
                             uint8_t next_bits, bool slashes) {
    constexpr uint8_t kNotPunctuation = kLetter | kNumber | kSpace;
    const bool spaced = code == ' ' && (next_bits & kNotPunctuation) == 0;
    if ((bits & kSpace) && !spaced) return classes.lines_or_spaces(p, end);
    const uint8_t* q = classes.run_without(kNotPunctuation, p + spaced, end);
    while (q < end && (*q == '\n' || *q == '\r' || (slashes && *q == '/'))) q++;
    return q;
  }
};

struct O200kSplit {
  static const uint8_t* next(const CharClasses& classes, const uint8_t* p, const uint8_t* end) {
    const Char first = decode_char(p, end);
    const uint8_t bits = classes.of(first.code);
    const bool may_lead = (bits & (kLetter | kNumber)) == 0 && first.code != '\n' && first.code != '\r';
    const uint8_t* second = p + first.bytes;
    const uint8_t* word = nullptr;
    if (may_lead && second < end) word = lower_word(classes, second, end);
    if (word == nullptr) word = lower_word(classes, p, end);
    if (word == nullptr && may_lead && second < end) word = upper_word(classes, second, end);
    if (word == nullptr) word = upper_word(classes, p, end);
    if (word != nullptr) return word + contraction_any_case(word, end);
    if (bits & kNumber) return Cl100kSplit<3>::number(classes, p, end);
    const uint8_t next_bits = second < end ? classes.of(decode_char(second, end).code) : uint8_t(kSpace);
    return Cl100kSplit<3>::rest(classes, p, end, bits, first.code, next_bits, true);
  }

 private:
  // [upper]*[lower]+ : greedy, giving back upper characters until one of them is lower as well. nullptr: no match.
  static const uint8_t* lower_word(const CharClasses& classes, const uint8_t* p, const uint8_t* end) {
    const uint8_t* after_both = nullptr;
    while (p < end) {
      const Char c = decode_char(p, end);
      const uint8_t bits = classes.of(c.code);
      if ((bits & kUpper) == 0) {
        if (bits & kLower) return classes.run_of(kLower, p, end);
        break;
      }
      p += c.bytes;
      if (bits & kLower) after_both = p;
    }
    return after_both;
  }

  // [upper]+[lower]* : nullptr: no match.
  static const uint8_t* upper_word(const CharClasses& classes, const uint8_t* p, const uint8_t* end) {
    const uint8_t* q = classes.run_of(kUpper, p, end);
    return q == p ? nullptr : classes.run_of(kLower, q, end);
  }
};

}  // namespace titanbit
