/** `deno task attack [--minutes N]`: mutations of random seeds, which it prints, against every reader. */

import { parseArgs } from "@std/cli";
import { attack, describeFinding } from "./attack.ts";
import { READERS } from "./readers.ts";

/** Mutations of a reader before it is the next one's turn. */
const ROUND = 1000;

const { minutes } = parseArgs(Deno.args, { string: ["minutes"], default: { minutes: "1" } });
const limit = Number(minutes) * 60_000;
if (!(limit > 0)) {
  console.error(`error: Cannot attack as --minutes must be a number above 0: ${minutes}`);
  Deno.exit(1);
}
const started = performance.now();
const broken = new Set<string>();
let from = crypto.getRandomValues(new Uint32Array(1))[0]!;
let tried = 0;
console.log(`seeds from ${from} on`);
while (performance.now() - started < limit && broken.size < READERS.length) {
  for (const reader of READERS.filter(({ name }) => !broken.has(name))) {
    const finding = attack(reader, { from, count: ROUND });
    tried += ROUND;
    if (finding === null) continue;
    broken.add(reader.name);
    console.error(describeFinding(finding));
  }
  from += ROUND;
}
console.log(`${tried} mutations of ${READERS.length} readers, ${broken.size} of these broken`);
Deno.exit(broken.size === 0 ? 0 : 1);
