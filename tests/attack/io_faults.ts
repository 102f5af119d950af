/** Trainings whose system calls on files fail at some moment: what they leave, and what becomes of them when they go on. */

import { fromFileUrl, join } from "@std/path";
import { readRecords } from "../../lib/metrics/sinks.ts";
import { compileLibrary } from "../support/compile_library.ts";
import type { Random } from "../support/random.ts";
import { tensorsOf, type TinyRun } from "../training/support.ts";

const TASK = fromFileUrl(new URL("../../tasks/train.ts", import.meta.url));
const SHIM = await Deno.readTextFile(new URL("./io_faults.c", import.meta.url));
const STEPS = 12;
const SET = [
  `training.steps=${STEPS}`,
  ...["training.eval_every=0", "training.device=cpu", "checkpoint.every_steps=3"],
  ...["checkpoint.keep_last=2", "logging.machine_every_s=0", "logging.console=plain"],
];
/** EIO, ENOSPC, EDQUOT. */
const CODES = [5, 28, 122];

/** Calls that fail. */
export interface IoFault {
  /** Number of the first, from 1. */
  readonly at: number;
  readonly count: number;
  readonly errno: number;
}

/** A run, what a life of it without faults comes to, and the means to disturb others. */
export interface IoFaults {
  /** Calls of a life. */
  readonly calls: number;
  /** What is wrong with a life that `fault` disturbs and those after it; `null` for nothing. */
  disturb(fault: IoFault, name: string): Promise<string | null>;
}

/** A fault anywhere in a life: one call, a few, or all from then on. */
export function anyFault(random: Random, calls: number): IoFault {
  const count = [1, 1, 3, 20, 1_000_000][random.integer(0, 4)]!;
  return { at: random.integer(1, calls), count, errno: CODES[random.integer(0, 2)]! };
}

/** Measures an undisturbed life of a run. */
export async function prepareIoFaults(run: TinyRun): Promise<IoFaults> {
  const shim = await compileLibrary(run.folder, SHIM);
  const log = join(run.folder, "calls");
  const train = (name: string, args: string[], fault: IoFault) =>
    live(run, { shim, log, name, args, fault });
  const folderOf = (name: string) => join(run.folder, "checkpoints", name);
  const last = (name: string) => join(folderOf(name), `step_${`${STEPS}`.padStart(7, "0")}`);
  const straight = await train("straight", [], { at: 0, count: 0, errno: 0 });
  if (straight.code !== 0) throw new Error(straight.stderr);
  const wanted = await tensorsOf(last("straight"));
  return {
    calls: Number(await Deno.readTextFile(log)),
    async disturb(fault, name) {
      const disturbed = await train(name, [], fault);
      const wrong = faultOf(disturbed);
      if (wrong !== null) return wrong;
      const saved = await savedOf(folderOf(name));
      const resume = stepsIn(folderOf(name)).length > 0;
      if (!resume && saved > 0) return `the checkpoint of step ${saved} is lost`;
      if (disturbed.code !== 0 || !stepsIn(folderOf(name)).includes(STEPS)) {
        const after = await train(name, resume ? ["--resume", "latest"] : [], {
          at: 0,
          count: 0,
          errno: 0,
        });
        if (after.code !== 0) return `can't go on, ${after.code}: ${after.stderr}`;
        const begun = await savedOf(folderOf(name), "run");
        if (begun < saved) return `goes on from ${begun}, and had saved ${saved}`;
      }
      const found = await tensorsOf(last(name));
      const same = found.every((bytes, i) => equal(bytes, wanted[i]!));
      if (!same) return "ended in other bits";
      await Deno.remove(folderOf(name), { recursive: true });
      return null;
    },
  };
}

interface Life {
  readonly code: number;
  readonly signal: string | null;
  readonly stderr: string;
}

async function live(
  run: TinyRun,
  { shim, log, name, args, fault }: {
    shim: string;
    log: string;
    name: string;
    args: string[];
    fault: IoFault;
  },
): Promise<Life> {
  const set = [...SET, `checkpoint.run=${name}`].flatMap((one) => ["--set", one]);
  // By a shell: Deno starts no program with LD_PRELOAD of its own.
  const { code, signal, stderr } = await new Deno.Command("sh", {
    args: [
      ...["-c", 'LD_PRELOAD="$0" exec "$@"', shim, Deno.execPath()],
      ...["run", "-A", "--no-prompt", "--no-check", "--cached-only", TASK],
      ...["--config", run.file, ...set, ...args],
    ],
    env: {
      NO_COLOR: "1",
      TITANBIT_THREADS: "1",
      FAULT_FOLDER: run.folder,
      FAULT_AT: String(fault.at),
      FAULT_COUNT: String(fault.count),
      FAULT_ERRNO: String(fault.errno),
      FAULT_LOG: log,
    },
    stdout: "null",
    stderr: "piped",
  }).output();
  return { code, signal, stderr: new TextDecoder().decode(stderr) };
}

/** What a disturbed life may not do. */
function faultOf({ code, signal, stderr }: Life): string | null {
  if (signal !== null) return `died by ${signal}: ${stderr}`;
  if (code !== 0 && code !== 1) return `exit code ${code}: ${stderr}`;
  if (code === 1 && !/^error: Cannot |^error: Nothing was kept/m.test(stderr)) {
    return `an error of another form: ${stderr}`;
  }
  if (/Uncaught|panicked|\n\s+at /.test(stderr)) return `a stack: ${stderr}`;
  return null;
}

/** Steps of the checkpoints in a folder. */
function stepsIn(folder: string): number[] {
  try {
    return [...Deno.readDirSync(folder)].flatMap(({ name }) => {
      const step = /^step_(\d+)$/.exec(name)?.[1];
      return step === undefined ? [] : [Number(step)];
    });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Step of the last checkpoint, or of the last beginning, that the records tell of; 0 for none. */
async function savedOf(
  folder: string,
  type: "checkpoint" | "run" = "checkpoint",
): Promise<number> {
  try {
    const records = await readRecords(join(folder, "metrics.jsonl"));
    const found = records.filter((record) =>
      record.type === type && (record.type !== "checkpoint" || record.error === null)
    );
    return found.at(-1)?.step ?? 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
