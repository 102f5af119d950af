/**
 * What packing a release says while it works.
 *
 * @module
 */

import { formatBytes } from "./format.ts";
import { ProgressLine, tell } from "./progress.ts";

/** How a release's packing is followed: what is being done, and how much of the archive is. */
export interface PackingProgress {
  progress(step: string): void;
  packed(done: number, total: number): void;
}

/** Lines on stderr, and a bar for the archive; without a terminal a line every two seconds. */
export function packingProgress(): PackingProgress {
  let bar: ProgressLine | null = null;
  return {
    progress: tell,
    packed(done, total) {
      bar ??= new ProgressLine({ total, label: "packing", plainIntervalMs: 2000 });
      bar.update({ done, text: `${formatBytes(done)} of ${formatBytes(total)}` });
      if (done < total) return;
      bar.finish();
      bar = null;
    },
  };
}
