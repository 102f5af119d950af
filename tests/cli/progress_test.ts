import { assertEquals, assertStringIncludes } from "@std/assert";
import { ProgressLine, type ProgressOptions } from "../../lib/cli/progress.ts";

function fixture(options: ProgressOptions & { width?: number | null } = {}) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const line = new ProgressLine({
    total: 10,
    now: () => clock.ms,
    output: { write: (text) => void written.push(text), columns: () => options.width ?? null },
    ...options,
  });
  return { line, written, clock };
}

Deno.test("ProgressLine writes one whole line a state when there is no terminal", () => {
  const { line, written, clock } = fixture({ label: "train" });
  clock.ms = 2000;
  line.update({ done: 2, text: "step 2" });
  line.finish();
  assertEquals(written, ["train step 2 eta 8.0 s\n"]);
});

/** What a line of the terminal shows after each write. */
function shown(written: string[]): string[] {
  return written.map((text) => text.replace("\r\x1b[K", ""));
}

const NUMBERS = "step 5/10  loss 5.1234  52.5k tok/s  val 1.234 bpb  lr 1.00e-3  grad 0.12";

for (
  const [width, line] of [
    [1, ""],
    [12, "50% eta 3m 0"],
    [30, "50% eta 3m 05s after 3m 05s"],
    [40, "train  50% eta 3m 05s after 3m 05s"],
    [60, "train  50% eta 3m 05s after 3m 05s  step 5/10  loss 5.1234"],
    [80, "train  50% eta 3m 05s after 3m 05s  step 5/10  loss 5.1234  52.5k tok/s"],
    [120, `train █████░░░░  50% eta 3m 05s after 3m 05s  ${NUMBERS}`],
    [200, `train ${"█".repeat(12)}${"░".repeat(12)}  50% eta 3m 05s after 3m 05s  ${NUMBERS}`],
  ] as const
) {
  Deno.test(`ProgressLine leaves out what doesn't fit, the last first, when the terminal has ${width} columns`, () => {
    const { line: progress, written, clock } = fixture({ width, label: "train" });
    clock.ms = 185_000;
    progress.update({ done: 5, text: NUMBERS });
    progress.finish();
    assertEquals(shown(written)[0], line.slice(0, width - 1));
  });
}

Deno.test("ProgressLine counts on when nothing is heard, and stops at the end", async () => {
  const { line, written, clock } = fixture({ width: 80, label: "train", tickMs: 5 });
  line.start(0);
  const ticks = async (count: number) => {
    written.length = 0;
    while (written.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
    return shown(written).at(-1);
  };
  clock.ms = 7000;
  assertEquals(await ticks(2), `train ${"░".repeat(24)}   0% after 7.0 s`);
  clock.ms = 10_000;
  line.update({ done: 1, text: "step 1" });
  clock.ms = 14_000;
  assertEquals(
    await ticks(2),
    `train ██${"░".repeat(22)}  10% eta 1m 26s after 14.0 s  step 1`,
  );
  line.finish();
  written.length = 0;
  await new Promise((resolve) => setTimeout(resolve, 30));
  assertEquals(written, []);
});

Deno.test("ProgressLine passes over states within the interval and shows the last one at the end", () => {
  const { line, written, clock } = fixture({ width: 200, barIntervalMs: 100 });
  for (const done of [1, 2, 3]) {
    clock.ms += 10;
    line.update({ done, text: `step ${done}` });
  }
  assertEquals(written.length, 1);
  line.finish();
  assertStringIncludes(written[1]!, "step 3");
  assertEquals(written[2], "\n");
});

Deno.test("ProgressLine.log() keeps the bar below the line", () => {
  const { line, written } = fixture({ width: 200 });
  line.update({ done: 1, text: "one" });
  line.log("saved");
  line.finish();
  assertEquals(written[1], "\r\x1b[Ksaved\n");
  assertStringIncludes(written[2]!, "one");
});

Deno.test("ProgressLine.remainingMs() counts the pace from where a resumed run began", () => {
  const { line, clock } = fixture({ total: 100 });
  line.start(90);
  clock.ms = 5000;
  assertEquals(line.remainingMs(95), 5000);
});

Deno.test("ProgressLine.remainingMs() is null when the total isn't known", () => {
  const { line, clock } = fixture({ total: null });
  clock.ms = 5000;
  assertEquals(line.remainingMs(5), null);
});
