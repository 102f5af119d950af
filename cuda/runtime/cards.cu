// What the CUDA driver says of its cards, for tb_context_create and, as JSON, for tb_describe.
#include "cards.h"

#include <cstdarg>
#include <cstdio>

#include "gemm.cuh"
#include "titanbit.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

namespace tb {

cudaError_t read_card(int device, Card* card) {
  cudaDeviceProp properties;
  const cudaError_t code = cudaGetDeviceProperties(&properties, device);
  if (code != cudaSuccess) return code;
  size_t length = 0;
  // Quotes and control characters are dropped, as the name goes into JSON.
  for (const char* from = properties.name; *from != 0 && length + 1 < sizeof card->name; ++from)
    if (*from >= ' ' && *from != '"' && *from != '\\') card->name[length++] = *from;
  card->name[length] = 0;
  card->compute = properties.major * 10 + properties.minor;
  card->sm_count = properties.multiProcessorCount;
  card->shared_bytes_per_block = int32_t(properties.sharedMemPerBlockOptin);
  card->memory_bytes = int64_t(properties.totalGlobalMem);
  card->l2_bytes = properties.l2CacheSize;
  card->pci_domain = properties.pciDomainID;
  card->pci_bus = properties.pciBusID;
  card->pci_device = properties.pciDeviceID;
  return cudaSuccess;
}

}  // namespace tb

namespace {

// Text into a buffer of fixed size; what does not fit is counted, not written.
struct Writer {
  char* text;
  int64_t capacity;
  int64_t length;

  __attribute__((format(printf, 2, 3))) void add(const char* format, ...) {
    va_list values;
    va_start(values, format);
    const int64_t room = length < capacity ? capacity - length : 0;
    const int added = vsnprintf(room > 0 ? text + length : nullptr, size_t(room), format, values);
    va_end(values);
    if (added > 0) length += added;
  }
};

}  // namespace

// ---- Launchers --------------------------------------------------------------------------------------------------

// {"backend", "compiler", "runtime", "driver" (null without one), "reason" (why there are no devices, or null), "cublasLt" (the
// file, or null), "devices"}.
extern "C" tb_status tb_describe(char* text, int64_t capacity, int64_t* written) {
  if (text == nullptr || written == nullptr || capacity < 1) return TB_INVALID_ARGUMENT;
  Writer json{text, capacity, 0};
  int runtime = 0, driver = 0, count = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found != cudaSuccess) count = 0;
  json.add("{\"backend\":\"cuda\",\"compiler\":\"nvcc %d.%d.%d\",\"runtime\":\"%d.%d\",", __CUDACC_VER_MAJOR__,
           __CUDACC_VER_MINOR__, __CUDACC_VER_BUILD__, runtime / 1000, runtime % 1000 / 10);
  if (driver > 0)
    json.add("\"driver\":\"%d.%d\",", driver / 1000, driver % 1000 / 10);
  else
    json.add("\"driver\":null,");
  if (found != cudaSuccess)
    json.add("\"reason\":\"%s\",", cudaGetErrorString(found));
  else
    json.add("\"reason\":%s,", count > 0 ? "null" : "\"no CUDA-capable device is detected\"");
  // Looked for only where it could be used: loading it takes time.
  const char* products = count > 0 ? tb::product_library() : nullptr;
  if (products != nullptr)
    json.add("\"cublasLt\":\"%s\",", products);
  else
    json.add("\"cublasLt\":null,");
  json.add("\"devices\":[");
  for (int device = 0; device < count; ++device) {
    tb::Card card;
    if (tb::read_card(device, &card) != cudaSuccess) card = tb::Card{"unknown", 0, 0, 0, 0, 0, 0, 0, 0};
    json.add("%s{\"index\":%d,\"name\":\"%s\",\"isa\":\"sm_%d\",\"cores\":%d,\"memoryBytes\":%lld,\"l2Bytes\":%lld,"
             "\"pciBusId\":\"%04x:%02x:%02x.0\",\"usable\":%s}",
             device > 0 ? "," : "", device, card.name, card.compute, card.sm_count, (long long)card.memory_bytes,
             (long long)card.l2_bytes, unsigned(card.pci_domain), unsigned(card.pci_bus), unsigned(card.pci_device),
             tb::is_usable(card) ? "true" : "false");
  }
  json.add("]}");
  cudaGetLastError();
  *written = json.length;
  return json.length < capacity ? TB_OK : TB_INVALID_ARGUMENT;
}
