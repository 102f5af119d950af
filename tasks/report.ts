/**
 * `report`: writes what became of runs into one HTML file.
 *
 * @module
 */

import { type Command, main } from "../lib/cli/command.ts";
import { checkOutputFile, writingOutput } from "../lib/cli/files.ts";
import { writeFileAtomic } from "../lib/data/atomic_file.ts";
import { findRun } from "../lib/history/run_files.ts";
import { readHistory } from "../lib/history/read_history.ts";
import { htmlReport } from "../lib/report/html_report.ts";

/** `report`. */
export const command: Command = {
  name: "report",
  summary: "write charts, summary, config and events of runs into one HTML file",
  description: "The file holds all it needs and opens without a network.",
  flags: [
    {
      name: "run",
      kind: "list",
      placeholder: "DIR",
      help: "a run's folder, or a file of records; may be given again to compare",
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
  ],
  async run(args) {
    const output = args.string("output");
    checkOutputFile("output", output);
    const runs = await Promise.all(args.list("run").map((path) => readHistory(findRun(path))));
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
