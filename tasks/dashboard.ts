/**
 * `dashboard`: shows runs in a browser.
 *
 * @module
 */

import { type Command, main, UsageError } from "../lib/cli/command.ts";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { Dashboard, DEFAULT_PORT } from "../lib/dashboard/server.ts";

/** `dashboard`. */
export const command: Command = {
  name: "dashboard",
  summary: "show one or several runs in a browser, live or afterwards",
  description:
    "Reads the runs' records and changes nothing. On 127.0.0.1, which only this machine reaches, no token is needed;\n" +
    "on any other address one is, and is made up unless --token gives it. Ctrl-C ends it.",
  flags: [
    {
      name: "run",
      kind: "list",
      placeholder: "DIR",
      help: "a run's folder, or a file of records; may be given again to compare",
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
    "deno task dashboard --run checkpoints/quickstart --host 0.0.0.0",
  ],
  async run(args) {
    const paths = args.list("run");
    if (paths.length > 12) {
      throw new UsageError(
        `Cannot compare as --run may be given 12 times: current value is ${paths.length} runs`,
      );
    }
    const token = args.optionalString("token");
    await using dashboard = Dashboard.serve({
      runs: paths.map((path) => ({ path })),
      port: args.optionalInteger("port") ?? DEFAULT_PORT,
      host: args.string("host"),
      ...(token !== undefined && { token }),
      warn: (message) => console.error(`warning: ${message}`),
    });
    console.error(`dashboard  ${dashboard.url}`);
    using interrupt = onInterrupt(() => {});
    await new Promise((resolve) => interrupt.signal.addEventListener("abort", resolve));
  },
};

if (import.meta.main) await main(command);
