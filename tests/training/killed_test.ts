/** A run that is killed over and over, in the middle of steps, checkpoints and rollbacks. */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import type { Fault } from "../../lib/stability/faults.ts";
import { Trainer } from "../../lib/training/trainer.ts";
import { recorder, tensorsOf, type TinyRun, tinyRun } from "./support.ts";

const RUNNER = fromFileUrl(new URL("./killed_runner.ts", import.meta.url));
/** In each of two runs at once. */
const KILLS = 25;
const STEPS = 150;

const SET = [
  `training.steps=${STEPS}`,
  "training.threads=1",
  "training.eval_every=0",
  "checkpoint.every_steps=5",
  "stability.warmup_steps=4",
  "stability.snapshot_every=2",
  "stability.stable_after=2",
  "stability.lr_ramp_steps=6",
  "stability.max_rollbacks=1000",
];

/** A rollback every ten steps or so, from memory and from disk, and steps that are left out. */
const FAULTS: readonly Fault[] = [
  { kind: "loss", steps: every(20, 9), repeat: "once", factor: 50, ms: 0 },
  { kind: "inf_loss", steps: every(20, 21), repeat: "once", factor: 0, ms: 0 },
  { kind: "nan_gradient", steps: every(10, 13), repeat: "once", factor: 0, ms: 0 },
];

function every(count: number, first: number): number[] {
  return Array.from({ length: Math.ceil(STEPS / count) }, (_, i) => first + i * count);
}

/** Whole numbers from 0 to below `limit`, the same for the same seed. */
function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => (state = (state * 48271) % 2147483647) % limit;
}

/** When a life ends: some milliseconds after a line, or after a checkpoint began to be written. */
interface Kill {
  readonly line: "begun" | "saved" | "back";
  readonly times: number;
  readonly inCheckpoint: boolean;
  readonly ms: number;
}

function pickKill(pick: (limit: number) => number): Kill {
  const kind = pick(8);
  if (kind === 0) return { line: "begun", times: 1, inCheckpoint: false, ms: pick(25) };
  if (kind < 4) return { line: "back", times: 1, inCheckpoint: false, ms: pick(12) };
  const inCheckpoint = kind < 6;
  return { line: "saved", times: 1 + pick(3), inCheckpoint, ms: pick(inCheckpoint ? 8 : 25) };
}

/** How a life of a run went. */
interface Life {
  readonly begun: number | null;
  /** Steps taken at the last checkpoint. */
  readonly saved: number | null;
  readonly killed: boolean;
  readonly output: string;
}

async function live(args: string[], kill: Kill | null, folder: string): Promise<Life> {
  const command = ["run", "-A", "--no-prompt", "--no-check", "--cached-only", RUNNER, ...args];
  const process = new Deno.Command("sh", {
    args: ["-c", 'exec "$@"', "sh", Deno.execPath(), ...command],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let output = "";
  let ended = false;
  let killing: Promise<void> | null = null;
  async function killLater({ inCheckpoint, ms }: Kill): Promise<void> {
    while (inCheckpoint && !ended && !isWriting(folder)) await sleep(1);
    await sleep(ms);
    if (!ended) process.kill("SIGKILL");
  }
  for await (const chunk of process.stdout.pipeThrough(new TextDecoderStream())) {
    output += chunk;
    if (kill !== null && killing === null && output.split(kill.line).length > kill.times) {
      killing = killLater(kill);
    }
  }
  ended = true;
  const { signal, code } = await process.status;
  await killing;
  assert(signal === "SIGKILL" || code === 0, `${signal} ${code} ${output}`);
  const last = (word: string) => {
    const found = [...output.matchAll(new RegExp(`^${word} (\\d+)$`, "gm"))].at(-1);
    return found === undefined ? null : Number(found[1]);
  };
  return { begun: last("begun"), saved: last("saved"), killed: signal === "SIGKILL", output };
}

/** Lives of runs until there were enough kills; each ends in the bits that are wanted. What was going on at the kills. */
async function killOften(
  run: TinyRun,
  options: { name: string; seed: number; wanted: Uint8Array[] },
): Promise<string[]> {
  const pick = random(options.seed);
  const faults = join(run.folder, "faults.json");
  await Deno.writeTextFile(faults, JSON.stringify(FAULTS));
  const moments: string[] = [];
  for (let round = 1; moments.length < KILLS; round++) {
    const name = `${options.name}${round}`;
    const folder = join(run.folder, "checkpoints", name);
    const config = join(run.folder, `${name}.json`);
    await Deno.writeTextFile(config, JSON.stringify(run.config(...SET, `checkpoint.run=${name}`)));
    let saved = 0;
    for (let finished = false; !finished;) {
      // A process that dies between a checkpoint's being in place and its saying so has saved, too.
      const args = [config, faults, ...(entriesOf(folder, "step_") > 0 ? ["latest"] : [])];
      const life = await live(args, moments.length < KILLS ? pickKill(pick) : null, folder);
      assert(life.begun !== null, life.output);
      assert(life.begun >= saved, `begins at ${life.begun}, before the checkpoint of ${saved}`);
      assert(!life.output.includes("warning"), life.output);
      if (life.killed) moments.push(momentOf(life.output, folder));
      saved = life.saved ?? saved;
      finished = life.output.includes("finished");
    }
    const ended = await filesOf(join(folder, `step_${String(STEPS).padStart(7, "0")}`));
    assert(equal(ended, options.wanted), `other bits after ${moments.length} kills`);
  }
  return moments;
}

Deno.test(`a run that is killed ${2 * KILLS} times at random moments loses nothing beyond its last checkpoint and ends in the same bits`, async () => {
  await using run = await tinyRun();
  const observer = recorder();
  using trainer = await Trainer.open(run.config(...SET, "checkpoint.run=straight"), {
    observer,
    version: "test",
    faults: FAULTS,
  });
  const straight = await trainer.run();
  const places = observer.records.flatMap((record) =>
    record.type === "stability" && record.event === "rollback" ? [record.place] : []
  );
  assertEquals([...new Set(places)].sort(), ["disk", "memory"]);
  const wanted = await filesOf(straight.checkpoint!);
  const moments = await Promise.all([
    killOften(run, { name: "a", seed: 2026, wanted }),
    killOften(run, { name: "b", seed: 2027, wanted }),
  ]);
  assertEquals(
    [...new Set(moments.flat())].sort(),
    ["in a checkpoint", "in a rollback", "in a step"],
  );
});

/** Weights, moments and everything else that a run goes on from. */
async function filesOf(checkpoint: string): Promise<Uint8Array[]> {
  const state = await Deno.readFile(join(checkpoint, "trainer_state.json"));
  return [...await tensorsOf(checkpoint), state];
}

/** What a killed process was doing. */
function momentOf(output: string, folder: string): string {
  if (output.lastIndexOf("back") > output.lastIndexOf("saved")) return "in a rollback";
  return isWriting(folder) ? "in a checkpoint" : "in a step";
}

function isWriting(folder: string): boolean {
  return entriesOf(folder, ".tmp-") > 0;
}

function entriesOf(folder: string, prefix: string): number {
  try {
    return [...Deno.readDirSync(folder)].filter(({ name }) => name.startsWith(prefix)).length;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function equal(found: Uint8Array[], wanted: Uint8Array[]): boolean {
  return found.every((bytes, file) =>
    bytes.length === wanted[file]!.length && bytes.every((byte, i) => byte === wanted[file]![i])
  );
}
