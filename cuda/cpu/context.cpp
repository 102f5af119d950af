// Context, memory and description of the CPU build. Device memory is host memory, 64-byte aligned.
#include "context.h"

#include <omp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>

// LLVM's OpenMP alone has it: how many milliseconds a thread waits actively for the next op. GNU's is told by a variable of the
// environment (lib/ffi/openmp.ts).
extern "C" __attribute__((weak)) void kmp_set_blocktime(int milliseconds);

namespace {

constexpr int64_t kHugePage = 2 << 20;

#if defined(__clang__)
constexpr const char kCompiler[] = "clang " __clang_version__;
#else
constexpr const char kCompiler[] = "g++ " __VERSION__;
#endif

tb::Isa best_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512cd") &&
                      __builtin_cpu_supports("avx512vnni");
  if (avx512) return tb::Isa::avx512;
  if (avx2) return tb::Isa::avx2;
#endif
  return tb::Isa::portable;
}

const char* isa_name(tb::Isa isa) {
  switch (isa) {
    case tb::Isa::avx512:
      return "avx512";
    case tb::Isa::avx2:
      return "avx2";
    default:
      return "portable";
  }
}

// TITANBIT_ISA caps the choice, so that every path can be tested on one machine. False: not a known name.
bool chosen_isa(tb::Isa* isa) {
  const tb::Isa best = best_isa();
  const char* cap = getenv("TITANBIT_ISA");
  *isa = best;
  if (cap == nullptr || *cap == 0) return true;
  for (tb::Isa level : {tb::Isa::portable, tb::Isa::avx2, tb::Isa::avx512}) {
    if (strcmp(cap, isa_name(level)) == 0) {
      if (level < best) *isa = level;
      return true;
    }
  }
  return false;
}

int64_t memory_bytes() { return int64_t(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE); }

// The processor's name as Linux gives it; quotes and control characters are dropped, as it goes into JSON.
void cpu_name(char* name, size_t capacity) {
  snprintf(name, capacity, "unknown");
  FILE* file = fopen("/proc/cpuinfo", "r");
  if (file == nullptr) return;
  char line[512];
  while (fgets(line, sizeof line, file) != nullptr) {
    if (strncmp(line, "model name", 10) != 0) continue;
    const char* from = strchr(line, ':');
    if (from == nullptr) continue;
    size_t length = 0;
    for (from += 2; *from >= ' ' && length + 1 < capacity; ++from)
      if (*from != '"' && *from != '\\') name[length++] = *from;
    name[length] = 0;
    break;
  }
  fclose(file);
}

}  // namespace

extern "C" {

int32_t tb_abi_version(void) { return TB_ABI_VERSION; }

tb_status tb_describe(char* text, int64_t capacity, int64_t* written) {
  if (text == nullptr || written == nullptr || capacity < 1) return TB_INVALID_ARGUMENT;
  char name[128];
  cpu_name(name, sizeof name);
  tb::Isa isa;
  chosen_isa(&isa);
  const int length = snprintf(text, size_t(capacity),
                              "{\"backend\":\"cpu\",\"compiler\":\"%s\",\"devices\":[{\"index\":0,\"name\":\"%s\","
                              "\"isa\":\"%s\",\"bestIsa\":\"%s\",\"cores\":%d,\"memoryBytes\":%lld}]}",
                              kCompiler, name, isa_name(isa), isa_name(best_isa()), omp_get_num_procs(),
                              (long long)memory_bytes());
  *written = length;
  return length < capacity ? TB_OK : TB_INVALID_ARGUMENT;
}

tb_status tb_context_create(int32_t device, int32_t threads, tb_context** context, char* error,
                            int64_t error_capacity) {
  if (context == nullptr || error == nullptr || error_capacity < 1) return TB_INVALID_ARGUMENT;
  *context = nullptr;
  if (device != 0) {
    snprintf(error, size_t(error_capacity), "Cannot open device %d as the CPU build has device 0 alone", device);
    return TB_NO_DEVICE;
  }
  if (threads < 0 || threads > 4096) {
    snprintf(error, size_t(error_capacity),
             "Cannot open the CPU as threads must be 0 (all cores) to 4096: current value is %d", threads);
    return TB_INVALID_ARGUMENT;
  }
  tb::Isa isa;
  if (!chosen_isa(&isa)) {
    snprintf(error, size_t(error_capacity),
             "Cannot open the CPU as TITANBIT_ISA must be portable, avx2 or avx512: current value is %s",
             getenv("TITANBIT_ISA"));
    return TB_INVALID_ARGUMENT;
  }
  if (kmp_set_blocktime != nullptr) kmp_set_blocktime(1);
  auto* made = new (std::nothrow) tb_context();
  if (made != nullptr) {
    made->threads = threads == 0 ? omp_get_num_procs() : threads;
    made->isa = isa;
    made->scratch = static_cast<char*>(aligned_alloc(64, size_t(made->threads) * tb::kScratchBytes));
  }
  if (made == nullptr || made->scratch == nullptr) {
    snprintf(error, size_t(error_capacity), "Cannot open the CPU as its scratch memory could not be allocated");
    delete made;
    return TB_OUT_OF_MEMORY;
  }
  *context = made;
  return TB_OK;
}

tb_status tb_context_destroy(tb_context* context) {
  TB_CHECK_CONTEXT(context);
  free(context->scratch);
  delete context;
  return TB_OK;
}

tb_status tb_last_error(tb_context* context, char* text, int64_t capacity) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, text != nullptr && capacity > 0, "Cannot give the last error as there is no room for it");
  snprintf(text, size_t(capacity), "%s", context->error);
  return TB_OK;
}

tb_status tb_synchronize(tb_context* context) {
  TB_CHECK_CONTEXT(context);
  return TB_OK;
}

tb_status tb_alloc(tb_context* context, int64_t bytes, uint64_t* address) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, address != nullptr && bytes >= 0, "Cannot allocate %lld bytes", (long long)bytes);
  *address = 0;
  // A plan larger than the machine is an error here; the kernel's overcommit would kill the process later instead.
  const int64_t limit = memory_bytes();
  // Weights, caches and activations are read from end to end: pages of 2 MiB spare most of the walks through page tables.
  const int64_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const int64_t room = (bytes + 64 + alignment - 1) / alignment * alignment;
  void* memory = bytes > limit ? nullptr : aligned_alloc(size_t(alignment), size_t(room));
  if (memory == nullptr)
    return tb::fail(context, TB_OUT_OF_MEMORY,
                    "Cannot allocate %.2f GiB as the machine has %.2f GiB in all: use a smaller model, micro-batch or "
                    "sequence",
                    double(bytes) / (1 << 30), double(limit) / (1 << 30));
#if defined(MADV_HUGEPAGE)
  if (alignment == kHugePage) madvise(memory, size_t(room), MADV_HUGEPAGE);
#endif
  *address = reinterpret_cast<uint64_t>(memory);
  return TB_OK;
}

tb_status tb_free(tb_context* context, uint64_t address) {
  TB_CHECK_CONTEXT(context);
  free(reinterpret_cast<void*>(address));
  return TB_OK;
}

tb_status tb_copy_to_device(tb_context* context, uint64_t to, const void* from, int64_t bytes) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, bytes >= 0, "Cannot copy %lld bytes", (long long)bytes);
  if (bytes > 0) memcpy(reinterpret_cast<void*>(to), from, size_t(bytes));
  return TB_OK;
}

tb_status tb_copy_to_host(tb_context* context, void* to, uint64_t from, int64_t bytes) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, bytes >= 0, "Cannot copy %lld bytes", (long long)bytes);
  if (bytes > 0) memcpy(to, reinterpret_cast<const void*>(from), size_t(bytes));
  return TB_OK;
}

tb_status tb_copy(tb_context* context, uint64_t to, uint64_t from, int64_t bytes) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, bytes >= 0, "Cannot copy %lld bytes", (long long)bytes);
  if (bytes > 0) memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), size_t(bytes));
  return TB_OK;
}

tb_status tb_fill(tb_context* context, uint64_t to, int32_t byte_value, int64_t bytes) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, bytes >= 0, "Cannot fill %lld bytes", (long long)bytes);
  if (bytes > 0) memset(reinterpret_cast<void*>(to), byte_value, size_t(bytes));
  return TB_OK;
}

}  // extern "C"
