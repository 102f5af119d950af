// Token files: read-only mappings and the copy of token windows out of them. Host code, the same in every build.
//
// Contract
//   A mapping is PROT_READ | MAP_SHARED of the whole file; its address is page-aligned and stays until tb_file_unmap.
//   tb_gather_windows widens B windows of T + 1 little-endian tokens (2 or 4 bytes each, one width a window) to int32:
//     ids[b*T + t] = token t, targets[b*T + t] = token t + 1 of window b. Reads exactly T + 1 tokens of a window, or T
//     where targets is null. Every token read is checked against vocab_size; exact integers, one thread.
//   A file cut short by another process while mapped raises SIGBUS on access: token files are replaced, never rewritten.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "titanbit.h"

namespace {

void explain(char* error, int64_t capacity, const char* what, int code) {
  if (error == nullptr || capacity <= 0) return;
  // strerror's own buffer belongs to the process; the few codes met here are named instead.
  const char* text = code == ENOENT   ? "no such file"
                     : code == EACCES ? "permission denied"
                     : code == EISDIR ? "it is a folder"
                     : code == ENOMEM ? "no address space left"
                     : code == EMFILE ? "too many open files"
                     : code == ENODEV ? "its file system cannot be mapped"
                                      : nullptr;
  if (code == 0)
    snprintf(error, size_t(capacity), "%s", what);
  else if (text != nullptr)
    snprintf(error, size_t(capacity), "%s: %s", what, text);
  else
    snprintf(error, size_t(capacity), "%s: error %d", what, code);
}

// Tokens that stay in the first-level cache between the reads of the two rows.
constexpr int64_t kBlock = 2048;

// Widens T tokens, and the T after the first where targets are wanted; says whether all of them are below vocab.
// Compiled once for each instruction set below.
template <typename Token>
inline __attribute__((always_inline)) bool widen_body(const Token* from, int64_t T, uint32_t vocab, int32_t* ids,
                                                      int32_t* targets) {
  Token largest = 0;
  for (int64_t start = 0; start < T; start += kBlock) {
    const int64_t n = T - start < kBlock ? T - start : kBlock;
    for (int shift = 0; shift < (targets == nullptr ? 1 : 2); shift++) {
      const Token* row = from + start + shift;
      int32_t* to = (shift == 0 ? ids : targets) + start;
      for (int64_t i = 0; i < n; i++) {
        to[i] = int32_t(row[i]);
        largest = row[i] > largest ? row[i] : largest;
      }
    }
  }
  return uint32_t(largest) < vocab;
}

template <typename Token>
bool widen_plain(const Token* from, int64_t T, uint32_t vocab, int32_t* ids, int32_t* targets) {
  return widen_body(from, T, vocab, ids, targets);
}

#if defined(__x86_64__)
// On 256-bit registers where the machine has them: the largest of 16-bit numbers is no SSE2 instruction.
template <typename Token>
__attribute__((target("avx2"))) bool widen_avx2(const Token* from, int64_t T, uint32_t vocab, int32_t* ids,
                                                int32_t* targets) {
  return widen_body(from, T, vocab, ids, targets);
}
#endif

template <typename Token>
bool widen(const Token* from, int64_t T, uint32_t vocab, int32_t* ids, int32_t* targets) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return widen_avx2(from, T, vocab, ids, targets);
#endif
  return widen_plain(from, T, vocab, ids, targets);
}

template <typename Token>
int64_t first_bad(const Token* from, int64_t n, uint32_t vocab) {
  for (int64_t i = 0; i < n; i++)
    if (uint32_t(from[i]) >= vocab) return i;
  return -1;
}

}  // namespace

extern "C" {

tb_status tb_file_map(const char* path, uint64_t* address, int64_t* bytes, char* error, int64_t error_capacity) {
  if (path == nullptr || address == nullptr || bytes == nullptr) return TB_INVALID_ARGUMENT;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    explain(error, error_capacity, "cannot be opened", errno);
    return TB_IO;
  }
  struct stat info;
  if (fstat(file, &info) != 0) {
    explain(error, error_capacity, "cannot be examined", errno);
    close(file);
    return TB_IO;
  }
  if (!S_ISREG(info.st_mode) || info.st_size == 0) {
    explain(error, error_capacity, S_ISREG(info.st_mode) ? "is empty" : "is no regular file", 0);
    close(file);
    return TB_IO;
  }
  void* start = mmap(nullptr, size_t(info.st_size), PROT_READ, MAP_SHARED, file, 0);
  const int code = errno;
  close(file);
  if (start == MAP_FAILED) {
    explain(error, error_capacity, "cannot be mapped", code);
    return TB_IO;
  }
  *address = uint64_t(uintptr_t(start));
  *bytes = int64_t(info.st_size);
  return TB_OK;
}

tb_status tb_file_advise(uint64_t address, int64_t bytes, int32_t advice) {
  const int meaning[] = {MADV_NORMAL, MADV_SEQUENTIAL, MADV_RANDOM, MADV_WILLNEED};
  if (advice < 0 || advice > 3 || bytes <= 0) return TB_INVALID_ARGUMENT;
  return madvise(reinterpret_cast<void*>(uintptr_t(address)), size_t(bytes), meaning[advice]) == 0 ? TB_OK : TB_IO;
}

tb_status tb_file_unmap(uint64_t address, int64_t bytes) {
  if (address == 0 || bytes <= 0) return TB_INVALID_ARGUMENT;
  return munmap(reinterpret_cast<void*>(uintptr_t(address)), size_t(bytes)) == 0 ? TB_OK : TB_INVALID_ARGUMENT;
}

tb_status tb_gather_windows(const uint64_t* windows, const int32_t* widths, int64_t B, int64_t T, int64_t vocab_size,
                            int32_t* ids, int32_t* targets, int64_t* bad) {
  if (windows == nullptr || widths == nullptr || ids == nullptr || bad == nullptr) return TB_INVALID_ARGUMENT;
  if (B < 0 || T < 0 || vocab_size < 1 || vocab_size > INT32_MAX) return TB_INVALID_ARGUMENT;
  const uint32_t vocab = uint32_t(vocab_size);
  for (int64_t b = 0; b < B; b++) {
    int32_t* row = ids + b * T;
    int32_t* next = targets == nullptr ? nullptr : targets + b * T;
    const int64_t read = targets == nullptr ? T : T + 1;
    const void* from = reinterpret_cast<const void*>(uintptr_t(windows[b]));
    int64_t at = -1;
    if (widths[b] == 2) {
      const uint16_t* tokens = static_cast<const uint16_t*>(from);
      if (!widen(tokens, T, vocab, row, next)) at = first_bad(tokens, read, vocab);
      bad[2] = at < 0 ? 0 : tokens[at];
    } else if (widths[b] == 4) {
      const uint32_t* tokens = static_cast<const uint32_t*>(from);
      if (!widen(tokens, T, vocab, row, next)) at = first_bad(tokens, read, vocab);
      bad[2] = at < 0 ? 0 : tokens[at];
    } else {
      return TB_UNSUPPORTED;
    }
    if (at >= 0) {
      bad[0] = b;
      bad[1] = at;
      return TB_INVALID_ARGUMENT;
    }
  }
  return TB_OK;
}

}  // extern "C"
