import { assertEquals } from "@std/assert";
import { LineFollower } from "../../lib/history/line_follower.ts";
import { runFolder } from "./support.ts";

/** Follows a file and keeps what it gives; a reset as `RESET`. */
function follow(path: string) {
  const decoder = new TextDecoder();
  const given: string[] = [];
  const follower = new LineFollower(path, {
    lines: (bytes) => void given.push(...decoder.decode(bytes).trimEnd().split("\n")),
    leaveOut: (start) => void given.push(`LEFT OUT ${decoder.decode(start.subarray(0, 3))}`),
    reset: () => void given.push("RESET"),
  });
  return { given, poll: () => follower.poll() };
}

Deno.test("LineFollower gives what is new, once", async () => {
  await using run = await runFolder("a\nb\n");
  const { given, poll } = follow(run.file);
  assertEquals(await poll(), true);
  run.append("c\n");
  await poll();
  assertEquals(await poll(), false);
  assertEquals(given, ["a", "b", "c"]);
});

Deno.test("LineFollower leaves a torn last line until it has its end", async () => {
  await using run = await runFolder("a\nto");
  const { given, poll } = follow(run.file);
  await poll();
  assertEquals(given, ["a"]);
  run.append("rn\n");
  await poll();
  assertEquals(given, ["a", "torn"]);
});

Deno.test("LineFollower goes on when a torn line is cut off and the next record written", async () => {
  await using run = await runFolder("a\nto");
  const { given, poll } = follow(run.file);
  await poll();
  Deno.truncateSync(run.file, 2);
  run.append("b\n");
  await poll();
  assertEquals(given, ["a", "b"]);
});

Deno.test("LineFollower begins anew when the file is cut back", async () => {
  await using run = await runFolder("a\nb\nc\n");
  const { given, poll } = follow(run.file);
  await poll();
  Deno.truncateSync(run.file, 2);
  await poll();
  assertEquals(given, ["a", "b", "c", "RESET", "a"]);
});

Deno.test("LineFollower begins anew when the file was cut back and has grown past where it was", async () => {
  await using run = await runFolder("a\nb\nc\n");
  const { given, poll } = follow(run.file);
  await poll();
  Deno.truncateSync(run.file, 2);
  run.append("B\nC\nD\n");
  await poll();
  assertEquals(given, ["a", "b", "c", "RESET", "a", "B", "C", "D"]);
});

Deno.test("LineFollower begins anew when another file takes the path, and when none does", async () => {
  await using run = await runFolder("a\n");
  const { given, poll } = follow(run.file);
  await poll();
  Deno.renameSync(run.file, `${run.file}.1`);
  await poll();
  Deno.writeTextFileSync(run.file, "a\nb\n");
  await poll();
  assertEquals(given, ["a", "RESET", "a", "b"]);
});

Deno.test("LineFollower gives lines whole that are longer than what it reads at once", async () => {
  const long = "x".repeat(9 << 20);
  await using run = await runFolder(`a\n${long}\nb\n`);
  const { given, poll } = follow(run.file);
  await poll();
  assertEquals(given.map(({ length }) => length), [1, long.length, 1]);
});

Deno.test("LineFollower passes over a line without end and goes on after it, wherever that comes", async () => {
  await using run = await runFolder(`a\n${"x".repeat(17 << 20)}`);
  const { given, poll } = follow(run.file);
  await poll();
  assertEquals(given, ["a", "LEFT OUT xxx"]);
  run.append("x".repeat(5 << 20));
  await poll();
  run.append("x\nb\nc");
  await poll();
  run.append("\n");
  await poll();
  assertEquals(given, ["a", "LEFT OUT xxx", "b", "c"]);
});
