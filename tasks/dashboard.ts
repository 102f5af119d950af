/**
 * `dashboard`: shows runs in a browser.
 *
 * @module
 */

import { type Command, main } from "../lib/cli/command.ts";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { tell } from "../lib/cli/progress.ts";
import { Dashboard, DEFAULT_PORT } from "../lib/dashboard/server.ts";
import { findRuns, MOST_RUNS } from "../lib/history/find_runs.ts";

/** `dashboard`. */
export const command: Command = {
  name: "dashboard",
  summary: "show one or several runs in a browser, live or afterwards",
  description:
    "Reads the runs' records and changes nothing. On 127.0.0.1, which only this machine reaches, no token is needed;\n" +
    "on any other address one is, and is made up unless --token gives it. Ctrl-C ends it.",
  positionals: [
    { name: "more", help: "more runs, as a shell makes of --run checkpoints/lr*", variadic: true },
  ],
  flags: [
    {
      name: "run",
      kind: "list",
      placeholder: "DIR",
      help:
        `a run's folder, its file of records, a folder of runs, or a pattern of them ('checkpoints/lr*'); may be given again to compare up to ${MOST_RUNS}`,
      required: true,
    },
    {
      name: "port",
      kind: "integer",
      help: `port to serve on, 0 for one that is free (default ${DEFAULT_PORT})`,
      min: 0,
      max: 65535,
    },
    {
      name: "host",
      kind: "string",
      placeholder: "A",
      help: "address to serve on: 127.0.0.1, ::1, or 0.0.0.0 and :: for all",
      default: "127.0.0.1",
    },
    { name: "token", kind: "string", placeholder: "T", help: "what whoever looks must have" },
  ],
  examples: [
    "deno task dashboard --run checkpoints/quickstart",
    "deno task dashboard --run checkpoints/a --run checkpoints/b --port 9000",
    "deno task dashboard --run checkpoints",
    "deno task dashboard --run checkpoints/quickstart --host 0.0.0.0",
  ],
  async run(args) {
    const runs = findRuns([...args.list("run"), ...args.positionals]);
    const token = args.optionalString("token");
    await using dashboard = Dashboard.serve({
      runs: runs.map(({ records }) => ({ records })),
      port: args.optionalInteger("port") ?? DEFAULT_PORT,
      host: args.string("host"),
      ...(token !== undefined && { token }),
      warn: (message) => tell(`warning: ${message}`),
    });
    tell(`dashboard  ${dashboard.url}`);
    using interrupt = onInterrupt(() => {});
    await new Promise((resolve) => interrupt.signal.addEventListener("abort", resolve));
  },
};

if (import.meta.main) await main(command);
