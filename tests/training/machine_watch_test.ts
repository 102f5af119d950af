import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import type { MachineRecord, RunRecord } from "../../lib/metrics/records.ts";
import { cardFigures, hostFigures, MachineWatch } from "../../lib/training/machine_watch.ts";
import { withNvmlStub } from "../support/nvml_stub.ts";
import { CHECKPOINT, MACHINE, ROLLBACK, RUN, STEP } from "../metrics/support.ts";

const CPU_RUN: RunRecord = { ...RUN, backend: "cpu", pci_bus_id: null };

/** A watch whose records are kept; `until` waits for that many of them. */
function watch(everyS: number, options: { nvml?: string } = {}) {
  const records: MachineRecord[] = [];
  const warnings: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  let wanted = Infinity;
  const machine = new MachineWatch({
    everyS,
    folder: "/",
    ...options,
    warn: (message) => void warnings.push(message),
    record(record) {
      records.push(record);
      if (records.length >= wanted) resolve();
    },
  });
  const until = (count: number) => {
    wanted = count;
    return records.length >= count ? Promise.resolve() : promise;
  };
  return { machine, records, warnings, until };
}

Deno.test("MachineWatch makes a record at once and then every interval, until it is disposed of", async () => {
  const { machine, records, until } = watch(0.01);
  machine.follow(CPU_RUN);
  assertEquals(records.length, 1);
  await until(3);
  machine[Symbol.dispose]();
  const made = records.length;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(records.length, made);
});

Deno.test("MachineWatch makes no record after the event of the run's end", async () => {
  const { machine, records, until } = watch(0.005);
  machine.follow(CPU_RUN);
  await until(2);
  machine.follow({ type: "event", step: 20, event: "finished", message: "" });
  const made = records.length;
  await new Promise((resolve) => setTimeout(resolve, 30));
  assertEquals(records.length, made);
  machine[Symbol.dispose]();
});

Deno.test("MachineWatch makes no record with an interval of 0", async () => {
  const { machine, records } = watch(0);
  machine.follow(CPU_RUN);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(records, []);
  machine[Symbol.dispose]();
});

Deno.test("MachineWatch warns once and ends when the figures can't be read", async () => {
  const { machine, records, warnings } = watch(0.005);
  const read = Deno.memoryUsage;
  Deno.memoryUsage = () => {
    throw new Error("Too many open files");
  };
  try {
    machine.follow(CPU_RUN);
    machine.follow(CPU_RUN);
    await new Promise((resolve) => setTimeout(resolve, 20));
  } finally {
    Deno.memoryUsage = read;
  }
  machine[Symbol.dispose]();
  assertEquals(records, []);
  assertEquals(warnings, [
    "Cannot read the machine's figures: Too many open files; training goes on without them",
  ]);
});

for (
  const [name, last, step] of [
    ["the last step", [STEP], 7],
    ["any later record", [STEP, CHECKPOINT], 10],
    ["the snapshot's step after a rollback", [STEP, ROLLBACK], 10],
  ] as const
) {
  Deno.test(`MachineWatch's records are of ${name}`, async () => {
    const { machine, records, until } = watch(0.005);
    machine.follow(CPU_RUN);
    for (const record of last) machine.follow(record);
    await until(2);
    machine[Symbol.dispose]();
    assertEquals(records.map((record) => record.step).slice(0, 2), [0, step]);
  });
}

Deno.test("MachineWatch's records have every field of a machine record, null for a card's on a CPU", () => {
  const { machine, records } = watch(60);
  machine.follow(CPU_RUN);
  machine[Symbol.dispose]();
  assertEquals(Object.keys(records[0]!), Object.keys(MACHINE));
  const ofCard = Object.entries(records[0]!).filter(([field]) => field.startsWith("gpu_"));
  assertEquals(ofCard.length, 10);
  assertEquals(ofCard.filter(([, value]) => value !== null), []);
  assertEquals(new Date(records[0]!.time).toISOString(), records[0]!.time);
});

Deno.test("MachineWatch reads the card that the run's record names", () =>
  withNvmlStub("NEW_NAME", (nvml) => {
    const { machine, records } = watch(60, { nvml });
    machine.follow(RUN);
    machine[Symbol.dispose]();
    const { gpu_power_w, gpu_memory_total_bytes, gpu_throttle_reasons } = records[0]!;
    assertEquals([gpu_power_w, gpu_memory_total_bytes], [251.5, 85899345920]);
    assertEquals(gpu_throttle_reasons, ["sw_power_cap", "hw_thermal"]);
  }));

Deno.test("hostFigures() tells memory and room as the system's own commands do", async () => {
  const { stdout } = await new Deno.Command("sh", {
    args: ["-c", "df --output=avail -B1 / | tail -1"],
    clearEnv: true,
    env: { PATH: Deno.env.get("PATH") ?? "" },
  }).output();
  const free = Number(new TextDecoder().decode(stdout));
  const figures = hostFigures("/");
  const { total, available } = Deno.systemMemoryInfo();
  // Others use the machine meanwhile.
  assert(Math.abs(figures.disk_available_bytes! - free) < 2 ** 30, `${free}`);
  assertEquals(figures.host_memory_total_bytes, total);
  assert(Math.abs(figures.host_memory_available_bytes! - available) < 2 ** 30);
  assertEquals(
    figures.host_memory_used_bytes! + figures.host_memory_available_bytes!,
    figures.host_memory_total_bytes,
  );
  const rss = figures.process_rss_bytes!;
  assert(rss > 2 ** 20 && rss < total, `${rss}`);
});

Deno.test("hostFigures() tells the room for a folder that is still to be made", () => {
  const room = hostFigures("/").disk_available_bytes!;
  const below = hostFigures(join("/", "no such folder", "run")).disk_available_bytes!;
  assert(Math.abs(room - below) < 2 ** 30);
});

Deno.test({
  name: "hostFigures() has null, and asks nobody, where a permission is missing",
  permissions: { sys: false },
  fn() {
    const { process_rss_bytes: rss, ...others } = hostFigures("/");
    assert(rss !== null);
    assertEquals(Object.values(others), [null, null, null, null]);
  },
});

Deno.test("cardFigures() gives a reading the names of records", () => {
  const figures = cardFigures({
    powerW: 251.5,
    temperatureC: 61,
    smClockMhz: 1980,
    memoryClockMhz: 2619,
    utilisationPercent: 97,
    memoryUsedBytes: 700,
    memoryTotalBytes: 800,
    eccCorrected: 3,
    eccUncorrected: 0,
    clockReasons: ["sw_power_cap"],
  });
  assertEquals(
    figures,
    Object.fromEntries(Object.entries(MACHINE).filter(([field]) => field.startsWith("gpu_"))),
  );
});
