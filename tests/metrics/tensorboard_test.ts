import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { basename, join } from "@std/path";
import type { MetricsRecord } from "../../lib/metrics/records.ts";
import { TensorBoardSink } from "../../lib/metrics/tensorboard.ts";
import { readEvents } from "./event_reader.ts";
import { CHECKPOINT, MACHINE, ROLLBACK, RUN, STEP, VALIDATION } from "./support.ts";

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What is in the event file of these records, after the first. */
async function eventsOf(folder: string, records: MetricsRecord[], step = 0) {
  using sink = TensorBoardSink.open(folder, step);
  for (const record of records) sink.write(record);
  return (await readEvents(sink.path)).slice(1);
}

Deno.test("TensorBoardSink begins a file with its version and the start of a session", () =>
  inFolder(async (folder) => {
    const before = Date.now() / 1000;
    using sink = TensorBoardSink.open(join(folder, "runs", "tiny"), 40);
    const [version, start, ...others] = await readEvents(sink.path);
    assertEquals([version!.version, version!.step], ["brain.Event:2", 0]);
    assertEquals([start!.session, start!.step, others.length], [1, 41, 0]);
    assert(version!.wallTime >= before && version!.wallTime <= Date.now() / 1000);
    assertMatch(basename(sink.path), /^events\.out\.tfevents\.\d{10}\./);
  }));

Deno.test("TensorBoardSink writes each number of a record as a scalar of its step", () =>
  inFolder(async (folder) => {
    const [, step, validation, checkpoint] = await eventsOf(folder, [
      STEP,
      VALIDATION,
      CHECKPOINT,
    ]);
    assertEquals(step!.step, 7);
    const { step: _, ...numbers } = STEP;
    const expected = Object.fromEntries(
      Object.entries(numbers).filter(([, value]) => typeof value === "number")
        .map(([field, value]) => [`step/${field}`, Math.fround(value as number)]),
    );
    assertEquals(step!.scalars, expected);
    assertEquals(validation!.step, 10);
    assertEquals(validation!.scalars["validation/loss"], 3.5);
    assertEquals(checkpoint!.scalars, { "checkpoint/write_ms": 40, "checkpoint/size_bytes": 4096 });
  }));

Deno.test("TensorBoardSink leaves out what isn't known, and keeps NaN", () =>
  inFolder(async (folder) => {
    const [, machine, step] = await eventsOf(folder, [
      { ...MACHINE, gpu_power_w: null },
      { ...STEP, loss: NaN },
    ]);
    assertEquals("machine/gpu_power_w" in machine!.scalars, false);
    assertEquals(machine!.scalars["machine/gpu_temperature_c"], 61);
    assertEquals(step!.scalars["step/loss"], NaN);
  }));

Deno.test("TensorBoardSink tells of a rollback by a session that starts after the snapshot's step", () =>
  inFolder(async (folder) => {
    const [, rollback, step] = await eventsOf(folder, [ROLLBACK, { ...STEP, step: 11 }]);
    assertEquals([rollback!.session, rollback!.step], [1, ROLLBACK.to_step + 1]);
    assertEquals(step!.step, 11);
  }));

Deno.test("TensorBoardSink writes nothing for a record without numbers", () =>
  inFolder(async (folder) => {
    const events = await eventsOf(folder, [
      { ...CHECKPOINT, error: "the disk is full" },
      { type: "event", step: 20, event: "finished", message: "" },
    ]);
    assertEquals(events.length, 1);
  }));

Deno.test("TensorBoardSink takes a new file for each start of a run", () =>
  inFolder(async (folder) => {
    await eventsOf(folder, [RUN, STEP]);
    await eventsOf(folder, [RUN, STEP], 7);
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assertEquals(names.length, 2);
    const starts = await Promise.all(
      names.map(async (name) => (await readEvents(join(folder, name)))[1]!.step),
    );
    assertEquals(starts, [1, 8]);
  }));

Deno.test("TensorBoardSink.open() throws where the folder can't be made", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "file"), "");
    assertThrows(() => TensorBoardSink.open(join(folder, "file", "tiny"), 0), Error);
  }));
