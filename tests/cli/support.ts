/** What tests of progress have in common. */

import type { ProgressOutput } from "../../lib/cli/progress.ts";

/** An output without a terminal, and what was written to it. */
export function recordedOutput(): { written: string[]; output: ProgressOutput } {
  const written: string[] = [];
  return { written, output: { write: (text) => void written.push(text), columns: () => null } };
}
