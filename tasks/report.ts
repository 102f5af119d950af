/**
 * `report`: writes what became of runs into one HTML file.
 *
 * @module
 */

import { type Command, main } from "../lib/cli/command.ts";
import { checkOutputFile, writingOutput } from "../lib/cli/files.ts";
import { writeFileAtomic } from "../lib/data/atomic_file.ts";
import { findRuns, MOST_RUNS } from "../lib/history/find_runs.ts";
import { readHistory } from "../lib/history/read_history.ts";
import { htmlReport } from "../lib/report/html_report.ts";

/** `report`. */
export const command: Command = {
  name: "report",
  summary: "write charts, summary, config and events of runs into one HTML file",
  description: "The file holds all it needs and opens without a network.",
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
      name: "output",
      kind: "string",
      placeholder: "FILE",
      help: "the file to write",
      default: "report.html",
      alias: "o",
    },
  ],
  examples: [
    "deno task report --run checkpoints/quickstart --output report.html",
    "deno task report --run checkpoints/a --run checkpoints/b --output a_and_b.html",
    "deno task report --run checkpoints --output all.html",
  ],
  async run(args) {
    const output = args.string("output");
    checkOutputFile("output", output);
    const found = findRuns([...args.list("run"), ...args.positionals]);
    const runs = await Promise.all(found.map(readHistory));
    const empty = runs.find(({ history }) => history.steps.length === 0);
    if (empty !== undefined) {
      throw new Error(
        `Cannot report on ${empty.name} as a run must have taken a step: current value is 0 steps in its records`,
      );
    }
    const page = new TextEncoder().encode(htmlReport(runs, new Date()));
    await writingOutput({ flag: "output", path: output }, () => writeFileAtomic(output, page));
    console.log(output);
  },
};

if (import.meta.main) await main(command);
