/**
 * `deno task attack [--minutes N]`: mutated files against every reader, trainings that are killed or whose disk fails, and
 * strangers on their ports. Seeds are random and printed.
 */

import { parseArgs } from "@std/cli";
import { Random } from "../support/random.ts";
import { tinyRun } from "../training/support.ts";
import { attack, describeFinding } from "./attack.ts";
import { trainObserved } from "./connections.ts";
import { anyFault, prepareIoFaults } from "./io_faults.ts";
import { killRuns, trainStraight } from "./kills.ts";
import { READERS } from "./readers.ts";

/** Mutations of a reader before it is the next one's turn. */
const ROUND = 1000;
/** Kills before the time is looked at. */
const KILLS = 10;

const { minutes } = parseArgs(Deno.args, { string: ["minutes"], default: { minutes: "1" } });
const limit = Number(minutes) * 60_000;
if (!(limit > 0)) {
  console.error(`error: Cannot attack as --minutes must be a number above 0: ${minutes}`);
  Deno.exit(1);
}
let broken = 0;

/** Attacks until a share of the time is over; an attack tells how often it struck, or throws. */
async function attackFor(share: number, what: string, strike: () => Promise<number>) {
  const end = performance.now() + limit * share;
  let struck = 0;
  try {
    do struck += await strike(); while (performance.now() < end);
  } catch (error) {
    broken++;
    console.error(`BROKEN by ${what}: ${error instanceof Error ? error.message : error}`);
  }
  console.log(`${struck} ${what}`);
}

const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
console.log(`seeds from ${seed} on`);
let from = seed;
await attackFor(0.4, `mutations of the files of ${READERS.length} readers`, () => {
  for (const reader of READERS) {
    const finding = attack(reader, { from, count: ROUND });
    if (finding !== null) throw new Error(describeFinding(finding));
  }
  from += ROUND;
  return Promise.resolve(ROUND * READERS.length);
});

await using killed = await tinyRun();
const { wanted } = await trainStraight(killed);
let kills = seed;
await attackFor(0.2, "kills of a training", async () => {
  await killRuns(killed, { name: `k${kills}_`, seed: kills++, kills: KILLS, wanted });
  return KILLS;
});

await using disturbed = await tinyRun();
const faults = await prepareIoFaults(disturbed);
const random = new Random(seed);
await attackFor(0.3, "failing calls on a training's files", async () => {
  const fault = anyFault(random, faults.calls);
  const wrong = await faults.disturb(fault, "fault");
  if (wrong !== null) throw new Error(`${JSON.stringify(fault)}: ${wrong}`);
  return 1;
});

await attackFor(0.1, "connections that stalled, with 256 files to open", async () => {
  await using run = await tinyRun();
  const { code, stderr, alone, observed } = await trainObserved(run, 1000);
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
  if (!observed.every((bytes, i) => bytes.every((byte, j) => byte === alone[i]![j]))) {
    throw new Error("the run ended in other bits");
  }
  return 1000;
});
Deno.exit(broken === 0 ? 0 : 1);
