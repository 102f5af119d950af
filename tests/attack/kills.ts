/** Runs that are killed over and over, in the middle of steps, checkpoints and rollbacks. */

import { assert } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import type { Fault } from "../../lib/stability/faults.ts";
import { Trainer } from "../../lib/training/trainer.ts";
import { Random } from "../support/random.ts";
import { recorder, tensorsOf, type TinyRun } from "../training/support.ts";

const RUNNER = fromFileUrl(new URL("../training/killed_runner.ts", import.meta.url));
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

/** When a life ends: some milliseconds after a line, or after a checkpoint began to be written. */
interface Kill {
  readonly line: "begun" | "saved" | "back";
  readonly times: number;
  readonly inCheckpoint: boolean;
  readonly ms: number;
}

function pickKill(random: Random): Kill {
  const pick = (limit: number) => random.integer(0, limit - 1);
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

/** What a run comes to that nobody kills, and where its rollbacks went back to. */
export interface StraightRun {
  readonly wanted: Uint8Array[];
  readonly places: ReadonlySet<string | null>;
}

/** Trains to the end. */
export async function trainStraight(run: TinyRun): Promise<StraightRun> {
  const observer = recorder();
  using trainer = await Trainer.open(run.config(...SET, "checkpoint.run=straight"), {
    observer,
    version: "test",
    faults: FAULTS,
  });
  const { checkpoint } = await trainer.run();
  const places = observer.records.flatMap((record) =>
    record.type === "stability" && record.event === "rollback" ? [record.place] : []
  );
  return { wanted: await filesOf(checkpoint!), places: new Set(places) };
}

/**
 * Lives of runs until there were `kills` of them; throws where one begins before its last checkpoint or doesn't end in the
 * bits that are wanted. What was going on at the kills.
 */
export async function killRuns(
  run: TinyRun,
  options: { name: string; seed: number; kills: number; wanted: Uint8Array[] },
): Promise<string[]> {
  const random = new Random(options.seed);
  const faults = join(run.folder, `${options.name}_faults.json`);
  await Deno.writeTextFile(faults, JSON.stringify(FAULTS));
  const moments: string[] = [];
  for (let round = 1; moments.length < options.kills; round++) {
    const name = `${options.name}${round}`;
    const folder = join(run.folder, "checkpoints", name);
    const config = join(run.folder, `${name}.json`);
    await Deno.writeTextFile(config, JSON.stringify(run.config(...SET, `checkpoint.run=${name}`)));
    let saved = 0;
    for (let finished = false; !finished;) {
      // A process that dies between a checkpoint's being in place and its saying so has saved, too.
      const args = [config, faults, ...(entriesOf(folder, "step_") > 0 ? ["latest"] : [])];
      const life = await live(
        args,
        moments.length < options.kills ? pickKill(random) : null,
        folder,
      );
      assert(life.begun !== null, life.output);
      assert(life.begun >= saved, `begins at ${life.begun}, before the checkpoint of ${saved}`);
      assert(!life.output.includes("warning"), life.output);
      if (life.killed) moments.push(momentOf(life.output, folder));
      saved = life.saved ?? saved;
      finished = life.output.includes("finished");
    }
    const ended = await filesOf(join(folder, `step_${String(STEPS).padStart(7, "0")}`));
    assert(
      equal(ended, options.wanted),
      `other bits after ${moments.length} kills of seed ${options.seed}`,
    );
    await Deno.remove(folder, { recursive: true });
  }
  return moments;
}

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
