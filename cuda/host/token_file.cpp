// Token files: read-only mappings and the copy of token windows out of them. Host code, the same in every build.
//
// Contract
//   A mapping is PROT_READ | MAP_SHARED of the whole file; its address is page-aligned and stays until tb_file_unmap.
//   tb_gather_windows widens B windows of T + 1 little-endian tokens (2 or 4 bytes each, one width a window) to int32:
//     ids[b*T + t] = token t, targets[b*T + t] = token t + 1 of window b. Reads exactly T + 1 tokens of a window, or T
//     where targets is null. Every token read is checked against vocab_size; exact integers, one thread.
//   A page that can't be read in, as the file was cut short or its disk failed, is TB_IO with bad[0] = the window. Of a page that a file
//   was cut within, the rest reads as zeros: token files are replaced, never rewritten.
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <pthread.h>
#include <ucontext.h>
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

// ---- Pages that can't be read in --------------------------------------------------------------------------------------------
// The kernel tells of one by SIGBUS in the thread that touched it, which ends the process where nobody handles it. The handler has
// the thread jump back to where its read began, where one is under way and the address lies in its window; all else goes on to the
// handler before it.

// A window that is being read.
struct GuardedRead {
  sigjmp_buf back;
  uintptr_t begin;
  uintptr_t end;
};

// The thread's GuardedRead. No thread_local: its first use in a thread may allocate, which a handler must not.
pthread_key_t reading;
struct sigaction earlier_handler;

[[noreturn]] void jump_back() { siglongjmp(static_cast<GuardedRead*>(pthread_getspecific(reading))->back, 1); }

// Lets the thread go on in jump_back() when the handler returns. It must return: that gives the thread its protection keys (PKRU)
// back, which a handler runs without and a jump out of it would lose. V8 dies at its next step without them.
void leave_by_jump(ucontext_t* thread) {
#if defined(__x86_64__)
  constexpr uintptr_t kRedZone = 128;
  greg_t* registers = thread->uc_mcontext.gregs;
  registers[REG_RSP] = greg_t(((uintptr_t(registers[REG_RSP]) - kRedZone) & ~uintptr_t(15)) - 8);  // as after a call
  registers[REG_RIP] = greg_t(uintptr_t(jump_back));
#elif defined(__aarch64__)
  thread->uc_mcontext.sp &= ~15ull;
  thread->uc_mcontext.pc = uintptr_t(jump_back);
#else
  jump_back();
#endif
}

void on_bus_error(int signal, siginfo_t* info, void* machine) {
  const GuardedRead* read = static_cast<GuardedRead*>(pthread_getspecific(reading));
  const uintptr_t address = uintptr_t(info->si_addr);
  if (read != nullptr && address >= read->begin && address < read->end) return leave_by_jump(static_cast<ucontext_t*>(machine));
  if ((earlier_handler.sa_flags & SA_SIGINFO) != 0) {
    earlier_handler.sa_sigaction(signal, info, machine);
  } else if (earlier_handler.sa_handler != SIG_DFL && earlier_handler.sa_handler != SIG_IGN) {
    earlier_handler.sa_handler(signal);
  } else {
    // The access is tried again on return, and ends the process as it would have done.
    sigaction(signal, &earlier_handler, nullptr);
  }
}

bool handle_bus_errors() {
  static const bool handled = [] {
    if (pthread_key_create(&reading, nullptr) != 0) return false;
    struct sigaction handler = {};
    handler.sa_sigaction = on_bus_error;
    sigemptyset(&handler.sa_mask);
    handler.sa_flags = SA_SIGINFO | SA_ONSTACK;
    return sigaction(SIGBUS, &handler, &earlier_handler) == 0;
  }();
  return handled;
}

// Calls read(), which touches bytes of the window alone and owns nothing; false where a page of it could not be read in.
template <typename Read>
bool guarded(const void* window, size_t bytes, const Read& read) {
  GuardedRead guard;
  guard.begin = uintptr_t(window);
  guard.end = guard.begin + bytes;
  if (sigsetjmp(guard.back, 0) != 0) {
    pthread_setspecific(reading, nullptr);
    return false;
  }
  if (pthread_setspecific(reading, &guard) != 0) return false;
  // No read may move out from between the two.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  read();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  pthread_setspecific(reading, nullptr);
  return true;
}

// Widens a window of T tokens; bad[1], bad[2]: position and value of its first token >= vocab, -1 where there is none.
template <typename Token>
__attribute__((noinline)) bool read_window(const void* from, int64_t T, uint32_t vocab, int32_t* ids, int32_t* targets, int64_t* bad) {
  const Token* tokens = static_cast<const Token*>(from);
  const int64_t read = targets == nullptr ? T : T + 1;
  bad[1] = -1;
  return guarded(from, size_t(read) * sizeof(Token), [=] {
    if (widen(tokens, T, vocab, ids, targets)) return;
    const int64_t at = first_bad(tokens, read, vocab);
    bad[2] = at < 0 ? 0 : tokens[at];
    bad[1] = at;
  });
}

}  // namespace

extern "C" {

tb_status tb_file_map(const char* path, uint64_t* address, int64_t* bytes, char* error, int64_t error_capacity) {
  if (path == nullptr || address == nullptr || bytes == nullptr) return TB_INVALID_ARGUMENT;
  if (!handle_bus_errors()) return TB_INTERNAL;
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
    const void* from = reinterpret_cast<const void*>(uintptr_t(windows[b]));
    if (widths[b] != 2 && widths[b] != 4) return TB_UNSUPPORTED;
    bad[0] = b;
    if (!(widths[b] == 2 ? read_window<uint16_t> : read_window<uint32_t>)(from, T, vocab, row, next, bad)) return TB_IO;
    if (bad[1] >= 0) return TB_INVALID_ARGUMENT;
  }
  return TB_OK;
}

}  // extern "C"
