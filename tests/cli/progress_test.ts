import { assertEquals, assertLess, assertStringIncludes } from "@std/assert";
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

Deno.test("ProgressLine redraws a bar within the terminal's width", () => {
  const { line, written, clock } = fixture({ width: 60 });
  clock.ms = 1000;
  line.update({ done: 5, text: "x".repeat(200) });
  assertStringIncludes(written[0]!, " 50% ");
  assertLess(written[0]!.replace("\r\x1b[K", "").length, 60);
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
