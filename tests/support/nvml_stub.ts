/** NVML without a card: a library in C with the functions that `lib/ffi/nvml.ts` asks for. */

import { compileLibrary } from "./compile_library.ts";

/** The signatures of nvml.h. A card at 0000:c1:00.0 that answers, and one at 0000:c2:00.0 that supports nothing. */
const STUB = `
#include <string.h>
typedef struct { int answers; } *nvmlDevice_t;
typedef struct { unsigned int gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9 };
static struct { int answers; } cards[2] = {{1}, {0}};
static int opened;
int stub_opened(void) { return opened; }
#ifdef NO_DRIVER
int nvmlInit_v2(void) { return DRIVER_NOT_LOADED; }
#else
int nvmlInit_v2(void) { ++opened; return SUCCESS; }
#endif
int nvmlShutdown(void) { --opened; return SUCCESS; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* id, nvmlDevice_t* device) {
  if (strcmp(id, "0000:c1:00.0") == 0) *device = (nvmlDevice_t)&cards[0];
  else if (strcmp(id, "0000:c2:00.0") == 0) *device = (nvmlDevice_t)&cards[1];
  else return NOT_FOUND;
  return SUCCESS;
}
#define ANSWER(what) { if (!device->answers) return NOT_SUPPORTED; what; return SUCCESS; }
int nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int* mw) ANSWER(*mw = 251500)
int nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned int* c) ANSWER(*c = 61 + 100 * sensor)
int nvmlDeviceGetClockInfo(nvmlDevice_t device, int type, unsigned int* mhz) ANSWER(*mhz = type == 1 ? 1980 : type == 2 ? 2619 : 0)
int nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t* u) ANSWER(u->gpu = 97; u->memory = 33)
int nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* m)
  ANSWER(m->total = 85899345920ull; m->used = 70000000001ull; m->free = m->total - m->used)
int nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int type, int counter, unsigned long long* n)
  ANSWER(*n = counter != 0 ? 999 : type == 0 ? 5000000000ull : 2)
#ifndef REASONS
#define REASONS 0x44
#endif
#ifdef NEW_NAME
int nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long* r) ANSWER(*r = REASONS)
#endif
#ifdef OLD_NAME
int nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long* r) ANSWER(*r = 0x8 | REASONS)
#endif
`;

/** Compiles the stub with `defines` and hands its path on. */
export async function withNvmlStub(
  defines: string,
  body: (library: string) => void,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const lines = defines.split(" ").map((define) => `#define ${define.replace("=", " ")}\n`);
    body(await compileLibrary(folder, lines.join("") + STUB));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
