import { assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { RunHistory } from "../../lib/history/run_history.ts";
import {
  lines,
  rollbackRecord,
  runRecord,
  spikeRecord,
  stepLines,
  stepRecord,
  validationRecord,
} from "./support.ts";

function history(text: string): RunHistory {
  const made = new RunHistory();
  made.lines(new TextEncoder().encode(text));
  return made;
}

const stepsOf = ({ steps }: RunHistory) => Array.from(steps.get("step")!);

Deno.test("RunHistory keeps steps as columns and everything else as records", () => {
  const made = history(
    lines(runRecord()) + stepLines(1, 3) + lines(validationRecord(3)) + "torn {",
  );
  assertEquals(stepsOf(made), [1, 2, 3]);
  assertEquals(Array.from(made.steps.get("tokens")!), [100, 200, 300]);
  assertEquals(made.steps.get("mfu_mixed")![0], NaN);
  assertEquals(made.validations.map(({ step }) => step), [3]);
  assertEquals(made.start?.run, "made-up");
});

Deno.test("RunHistory leaves out what a rollback undid, and keeps its notes", () => {
  const made = history(
    lines(runRecord()) + stepLines(1, 9) + lines(validationRecord(4), validationRecord(8)),
  );
  const before = made.generation;
  made.lines(new TextEncoder().encode(lines(spikeRecord(10), rollbackRecord(10, 6))));
  assertEquals(stepsOf(made), [1, 2, 3, 4, 5, 6]);
  assertEquals(made.validations.map(({ step }) => step), [4]);
  assertEquals(made.undoneSteps, 4);
  assertEquals(made.notes.map(({ step }) => step), [0, 10, 10]);
  assertNotEquals(made.generation, before);
  made.lines(new TextEncoder().encode(stepLines(7, 8)));
  assertEquals(stepsOf(made).at(-1), 8);
});

Deno.test("RunHistory lets a resumed run take its steps again", () => {
  const made = history(
    lines(runRecord()) + stepLines(1, 9) + lines(validationRecord(8), runRecord({ step: 5 })),
  );
  assertEquals([stepsOf(made), made.validations], [[1, 2, 3, 4, 5], []]);
  made.lines(new TextEncoder().encode(stepLines(6, 6)));
  assertEquals(stepsOf(made), [1, 2, 3, 4, 5, 6]);
});

Deno.test("RunHistory takes fields that it doesn't know, those of objects too", () => {
  const late = { ...stepRecord(2), gpu: { power_w: 312.5 }, memory_bytes: 7 };
  const made = history(lines(stepRecord(1), late));
  assertEquals(Array.from(made.steps.get("gpu.power_w")!), [NaN, 312.5]);
  assertEquals(Array.from(made.steps.get("memory_bytes")!), [NaN, 7]);
  assertAlmostEquals(made.steps.get("loss")![1]!, 6);
});

Deno.test("RunHistory has another generation after every reset", () => {
  const made = history(stepLines(1, 3));
  const before = made.generation;
  made.reset();
  assertEquals([made.steps.length, made.generation > before], [0, true]);
});

Deno.test("RunHistory sums the time of the steps that count, the first records as the next where they have none", () => {
  const step = (at: number, ms: number) => stepRecord(at, { step_ms: ms });
  const made = history(lines(runRecord(), step(10, 0), step(20, 4), step(40, 6)));
  const elapsed = () => Array.from(made.steps.get("elapsed_ms")!);
  assertEquals(elapsed(), [40, 80, 200]);
  made.lines(new TextEncoder().encode(lines(rollbackRecord(40, 20), step(30, 5))));
  assertEquals(elapsed(), [40, 80, 130]);
  made.reset();
  made.lines(new TextEncoder().encode(lines(step(1, 0), step(2, 7))));
  assertEquals(elapsed(), [7, 14]);
});

Deno.test("RunHistory counts lines that are no records it knows, keeps those around them, and shows the first", () => {
  const odd = [
    '{"type":"stability","step":3,"event":"teleport","to":"the moon"}',
    '{"type":"ternary","step":3,"layers":2000000000,"matrices":["q"],"inputs":[],"zero":[]}',
    '{"type":"rollback"',
    '{"type":"validation","step":3,"loss":{"toFixed":1}}',
    '{"type":"stability","step":3,"event":"rollback","to_step":"x"}',
    '{"type":"machine","step":3,"gpu_throttle_reasons":5}',
    '{"type":"checkpoint","step":3}',
    '{"type":"step","loss":1}',
    '{"type":"__proto__","step":3}',
    "[[[[",
    "",
  ];
  const history = new RunHistory();
  const text = stepLines(1, 2) + odd.map((line) => `${line}\n`).join("") + stepLines(3, 4);
  history.lines(new TextEncoder().encode(text));
  assertEquals([history.steps.length, history.steps.lastStep], [4, 4]);
  assertEquals(history.leftOut, { count: 10, first: odd[0] });
  assertEquals([history.notes, history.validations, history.undoneSteps], [[], [], 0]);
  history.reset();
  assertEquals(history.leftOut, null);
});
