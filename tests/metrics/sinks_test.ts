import { assertEquals, assertStringIncludes } from "@std/assert";
import { decodeRecord, encodeRecord, type StepRecord } from "../../lib/metrics/records.ts";
import { JsonlSink, readRecords } from "../../lib/metrics/sinks.ts";

function record(step: number, change: Partial<StepRecord> = {}): StepRecord {
  return {
    type: "step",
    step,
    tokens: 1024 * step,
    loss: 4.25,
    lr: 1e-3,
    weight_decay: 0.1,
    grad_norm: 0.5,
    step_ms: 100,
    forward_ms: null,
    backward_ms: null,
    optimizer_ms: null,
    data_ms: null,
    tokens_per_s: 10240,
    mfu_bf16: null,
    mfu_mixed: null,
    skipped: 0,
    ...change,
  };
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function writeSteps(
  path: string,
  steps: number[],
  options: { resumeAfterStep?: number } = {},
): void {
  using sink = JsonlSink.open(path, options);
  for (const step of steps) sink.write(record(step));
}

async function stepsIn(path: string): Promise<number[]> {
  return (await readRecords(path)).map(({ step }) => step);
}

Deno.test("JsonlSink has every record on disk when write() returns", () =>
  inFolder(async (folder) => {
    using sink = JsonlSink.open(`${folder}/m.jsonl`);
    sink.write(record(1));
    assertEquals(await readRecords(`${folder}/m.jsonl`), [record(1)]);
  }));

Deno.test("JsonlSink cuts off records after the step it resumes from", () =>
  inFolder(async (folder) => {
    writeSteps(`${folder}/m.jsonl`, [1, 2, 3, 4]);
    writeSteps(`${folder}/m.jsonl`, [3], { resumeAfterStep: 2 });
    assertEquals(await stepsIn(`${folder}/m.jsonl`), [1, 2, 3]);
  }));

Deno.test("JsonlSink cuts off a torn last line when it resumes", () =>
  inFolder(async (folder) => {
    writeSteps(`${folder}/m.jsonl`, [1]);
    await Deno.writeTextFile(`${folder}/m.jsonl`, '{"type":"step","st', { append: true });
    writeSteps(`${folder}/m.jsonl`, [2], { resumeAfterStep: 5 });
    assertEquals(
      await Deno.readTextFile(`${folder}/m.jsonl`),
      encodeRecord(record(1)) + encodeRecord(record(2)),
    );
  }));

Deno.test("JsonlSink resumes into a file that isn't there", () =>
  inFolder(async (folder) => {
    writeSteps(`${folder}/m.jsonl`, [6], { resumeAfterStep: 5 });
    assertEquals(await stepsIn(`${folder}/m.jsonl`), [6]);
  }));

Deno.test("JsonlSink moves another run's records aside when a run begins", () =>
  inFolder(async (folder) => {
    for (const step of [1, 2, 3]) writeSteps(`${folder}/m.jsonl`, [step]);
    assertEquals(await stepsIn(`${folder}/m.1.jsonl`), [1]);
    assertEquals(await stepsIn(`${folder}/m.2.jsonl`), [2]);
    assertEquals(await stepsIn(`${folder}/m.jsonl`), [3]);
  }));

Deno.test("encodeRecord() writes a number that isn't finite as null on one line", () => {
  const line = encodeRecord(record(1, { loss: NaN, grad_norm: Infinity }));
  assertStringIncludes(line, '"loss":null');
  assertStringIncludes(line, '"grad_norm":null');
  assertEquals(line.indexOf("\n"), line.length - 1);
});

Deno.test("decodeRecord() is null for torn lines and other JSON", () => {
  assertEquals(
    ['{"type":"st', "3", "null", '{"type":"step"}', '{"type":"x","step":1}'].map(decodeRecord),
    [
      null,
      null,
      null,
      null,
      null,
    ],
  );
});
