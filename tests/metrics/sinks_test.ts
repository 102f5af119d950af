import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  decodeRecord,
  encodeRecord,
  type MetricsRecord,
  type RunRecord,
} from "../../lib/metrics/records.ts";
import { stepRecord } from "../support/records.ts";
import { JsonlSink, readRecords, type ResumePoint } from "../../lib/metrics/sinks.ts";

const RUN: RunRecord = {
  type: "run",
  step: 0,
  time: "2026-01-01T00:00:00Z",
  version: "0",
  run: "tiny",
  device: "cpu",
  backend: "cpu",
  parameters: 1,
  tokens_per_step: 1,
  steps: 9,
  undone_steps: 0,
  snapshot_bytes: 0,
};

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
  options: { resumeAfter?: ResumePoint } = {},
): void {
  using sink = JsonlSink.open(path, options);
  for (const step of steps) sink.write(stepRecord(step));
}

async function stepsIn(path: string): Promise<number[]> {
  return (await readRecords(path)).map(({ step }) => step);
}

Deno.test("JsonlSink has every record on disk when write() returns", () =>
  inFolder(async (folder) => {
    using sink = JsonlSink.open(`${folder}/m.jsonl`);
    sink.write(stepRecord(1));
    assertEquals(await readRecords(`${folder}/m.jsonl`), [stepRecord(1)]);
  }));

Deno.test("JsonlSink cuts off records after the step it resumes from", () =>
  inFolder(async (folder) => {
    writeSteps(`${folder}/m.jsonl`, [1, 2, 3, 4]);
    writeSteps(`${folder}/m.jsonl`, [3], { resumeAfter: { step: 2, undone: 0 } });
    assertEquals(await stepsIn(`${folder}/m.jsonl`), [1, 2, 3]);
  }));

Deno.test("JsonlSink cuts off a torn last line when it resumes", () =>
  inFolder(async (folder) => {
    writeSteps(`${folder}/m.jsonl`, [1]);
    await Deno.writeTextFile(`${folder}/m.jsonl`, '{"type":"step","st', { append: true });
    writeSteps(`${folder}/m.jsonl`, [2], { resumeAfter: { step: 5, undone: 0 } });
    assertEquals(
      await Deno.readTextFile(`${folder}/m.jsonl`),
      encodeRecord(stepRecord(1)) + encodeRecord(stepRecord(2)),
    );
  }));

Deno.test("JsonlSink resumes into a file that isn't there", () =>
  inFolder(async (folder) => {
    writeSteps(`${folder}/m.jsonl`, [6], { resumeAfter: { step: 5, undone: 0 } });
    assertEquals(await stepsIn(`${folder}/m.jsonl`), [6]);
  }));

/** A run that goes back from step 5 to step 2 and on to step 4. */
const ROLLED_BACK: readonly MetricsRecord[] = [
  ...[1, 2, 3, 4].map((step) => stepRecord(step)),
  {
    type: "stability",
    event: "rollback",
    step: 5,
    to_step: 2,
    place: "memory",
    undone_steps: 3,
    window_from: 2,
    window_to: 5,
    lr_factor: 0.5,
    rollbacks: 1,
    max_rollbacks: 5,
  },
  ...[3, 4].map((step) => stepRecord(step)),
];

for (
  const [place, point, kept] of [
    ["before the rollback", { step: 4, undone: 0 }, [1, 2, 3, 4]],
    ["at the rollback", { step: 2, undone: 3 }, [1, 2, 3, 4, 5]],
    ["after the rollback", { step: 3, undone: 3 }, [1, 2, 3, 4, 5, 3]],
  ] as const
) {
  Deno.test(`JsonlSink cuts off by steps taken when it resumes from ${place}`, () =>
    inFolder(async (folder) => {
      const path = `${folder}/m.jsonl`;
      {
        using sink = JsonlSink.open(path);
        for (const one of ROLLED_BACK) sink.write(one);
      }
      JsonlSink.open(path, { resumeAfter: point })[Symbol.dispose]();
      assertEquals(await stepsIn(path), [...kept]);
    }));
}

Deno.test("JsonlSink takes the undone steps from the record of a resumed run", () =>
  inFolder(async (folder) => {
    const path = `${folder}/m.jsonl`;
    {
      using sink = JsonlSink.open(path);
      // The file begins where the run was resumed, after a rollback of 7 steps.
      sink.write({ ...RUN, step: 2, undone_steps: 7 });
      for (const step of [3, 4]) sink.write(stepRecord(step));
    }
    JsonlSink.open(path, { resumeAfter: { step: 3, undone: 7 } })[Symbol.dispose]();
    assertEquals(await stepsIn(path), [2, 3]);
  }));

Deno.test("JsonlSink moves another run's records aside when a run begins", () =>
  inFolder(async (folder) => {
    for (const step of [1, 2, 3]) writeSteps(`${folder}/m.jsonl`, [step]);
    assertEquals(await stepsIn(`${folder}/m.1.jsonl`), [1]);
    assertEquals(await stepsIn(`${folder}/m.2.jsonl`), [2]);
    assertEquals(await stepsIn(`${folder}/m.jsonl`), [3]);
  }));

Deno.test("encodeRecord() writes a number that isn't finite as null on one line", () => {
  const line = encodeRecord(stepRecord(1, { loss: NaN, grad_norm: Infinity }));
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
