/** NVML as a stub in C plays it: there need be no card. */

import { assertEquals, assertThrows } from "@std/assert";
import { CardMonitor, type CardReading, CLOCK_REASONS } from "../../lib/ffi/nvml.ts";
import { withNvmlStub as withStub } from "../support/nvml_stub.ts";

const CARD = "0000:c1:00.0";

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
