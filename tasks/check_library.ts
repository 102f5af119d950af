/**
 * Says whether the native library is there and is of this tree's ABI; `deno task test` asks before it starts.
 *
 * @module
 */

import { type Command, main } from "../lib/cli/command.ts";
import { openLibrary } from "../lib/ffi/library.ts";

export const command: Command = {
  name: "check-library",
  summary: "whether the native library is built and fits this tree",
  flags: [],
  examples: ["deno task check-library"],
  // deno-lint-ignore require-await
  async run() {
    openLibrary({ device: "cpu" });
  },
};

if (import.meta.main) await main(command);
