/** A run that is killed over and over, in the middle of steps, checkpoints and rollbacks. */

import { assertEquals } from "@std/assert";
import { killRuns, trainStraight } from "../attack/kills.ts";
import { tinyRun } from "./support.ts";

/** In each of two runs at once. */
const KILLS = 25;

Deno.test(`a run that is killed ${2 * KILLS} times at random moments loses nothing beyond its last checkpoint and ends in the same bits`, async () => {
  await using run = await tinyRun();
  const { wanted, places } = await trainStraight(run);
  assertEquals([...places].sort(), ["disk", "memory"]);
  const moments = await Promise.all([
    killRuns(run, { name: "a", seed: 2026, kills: KILLS, wanted }),
    killRuns(run, { name: "b", seed: 2027, kills: KILLS, wanted }),
  ]);
  assertEquals(
    [...new Set(moments.flat())].sort(),
    ["in a checkpoint", "in a rollback", "in a step"],
  );
});
