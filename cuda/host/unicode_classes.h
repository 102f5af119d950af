// Character classes that the splitters of tokenizer.json's patterns distinguish.
#pragma once
#include <cstdint>

namespace titanbit {

enum UnicodeClass : uint8_t {
  kLetter = 1,   // \p{L}
  kNumber = 2,   // \p{N}
  kSpace = 4,    // \s, the property White_Space
  kUpper = 8,    // \p{Lu} \p{Lt} \p{Lm} \p{Lo} \p{M}
  kLower = 16,   // \p{Ll} \p{Lm} \p{Lo} \p{M}
};

struct UnicodeRange {
  uint32_t first;
  uint32_t count;
  uint8_t bits;
};

// Sorted, disjoint; a code point of no range has no class.
extern const UnicodeRange kUnicodeRanges[];
extern const int kUnicodeRangeCount;

}  // namespace titanbit
