/** NVML as a stub of C plays it: there need be no card. What real ones say, cuda_test.ts of tests/training looks at. */

import { assertEquals, assertThrows } from "@std/assert";
import { CardMonitor, type CardReading, CLOCK_REASONS } from "../../lib/ffi/nvml.ts";
import { compileLibrary } from "../support/compile_library.ts";

const CARD = "0000:c1:00.0";

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
async function withStub(defines: string, body: (library: string) => void): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const lines = defines.split(" ").map((define) => `#define ${define.replace("=", " ")}\n`);
    body(await compileLibrary(folder, lines.join("") + STUB));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function readCard(library: string, address = CARD): CardReading {
  using monitor = CardMonitor.open(address, { library })!;
  return monitor.read();
}

Deno.test("CardMonitor reads every figure of the card at its address, in its units", () =>
  withStub("NEW_NAME", (library) => {
    assertEquals(readCard(library), {
      powerW: 251.5,
      temperatureC: 61,
      smClockMhz: 1980,
      memoryClockMhz: 2619,
      utilisationPercent: 97,
      memoryUsedBytes: 70000000001,
      memoryTotalBytes: 85899345920,
      eccCorrected: 5000000000,
      eccUncorrected: 2,
      clockReasons: ["sw_power_cap", "hw_thermal"],
    });
  }));

Deno.test("CardMonitor has null for each figure that a card does not support", () =>
  withStub("NEW_NAME", (library) => {
    const reading = readCard(library, "0000:c2:00.0");
    assertEquals(Object.keys(reading).length, 10);
    assertEquals(Object.values(reading).filter((value) => value !== null), []);
  }));

Deno.test("CardMonitor asks older drivers for the reasons of low clocks by the older name", () =>
  withStub("OLD_NAME", (library) => {
    assertEquals(readCard(library).clockReasons, ["sw_power_cap", "hw_slowdown", "hw_thermal"]);
  }));

Deno.test("CardMonitor prefers the newer name where a driver has both", () =>
  withStub("NEW_NAME OLD_NAME", (library) => {
    assertEquals(readCard(library).clockReasons, ["sw_power_cap", "hw_thermal"]);
  }));

Deno.test("CardMonitor has no reasons where a driver has neither name", () =>
  withStub("NEITHER", (library) => assertEquals(readCard(library).clockReasons, null)));

Deno.test("CardMonitor names every bit of nvml.h and calls others unknown", async () => {
  await withStub("NEW_NAME REASONS=0x1ff", (library) => {
    const names = CLOCK_REASONS.map(([, name]) => name);
    assertEquals(readCard(library).clockReasons, names);
    assertEquals(names.length, 9);
  });
  await withStub("NEW_NAME REASONS=0x8001", (library) => {
    assertEquals(readCard(library).clockReasons, ["idle", "unknown"]);
  });
  await withStub("NEW_NAME REASONS=0", (library) => {
    assertEquals(readCard(library).clockReasons, []);
  });
});

Deno.test("CardMonitor.open() is null where there is no NVML, no driver, or no such card", async () => {
  assertEquals(CardMonitor.open(CARD, { library: "libno-such-nvml.so.1" }), null);
  await withStub("NO_DRIVER", (library) => assertEquals(CardMonitor.open(CARD, { library }), null));
  await withStub("NEW_NAME", (library) => {
    assertEquals(CardMonitor.open("0000:00:00.0", { library }), null);
  });
});

Deno.test("CardMonitor shuts NVML down once, whether the card was there or not", () =>
  withStub("NEW_NAME", (library) => {
    const stub = Deno.dlopen(library, { stub_opened: { parameters: [], result: "i32" } });
    CardMonitor.open("0000:00:00.0", { library });
    assertEquals(stub.symbols.stub_opened(), 0);
    const monitor = CardMonitor.open(CARD, { library })!;
    assertEquals(stub.symbols.stub_opened(), 1);
    monitor[Symbol.dispose]();
    monitor[Symbol.dispose]();
    assertEquals(stub.symbols.stub_opened(), 0);
    assertThrows(() => monitor.read(), TypeError, "its monitor is closed");
    stub.close();
  }));
