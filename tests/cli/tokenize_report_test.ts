import { assertEquals } from "@std/assert";
import { TokenizeLines } from "../../lib/cli/tokenize_report.ts";
import { recordedOutput } from "./support.ts";

Deno.test("TokenizeLines tells rate and time left of each stage from its start, in the same units", () => {
  const { written, output } = recordedOutput();
  const clock = { ms: 5000 };
  const lines = new TokenizeLines({
    now: () => clock.ms,
    output,
    plainIntervalMs: 0,
  });
  const totalBytes = 4 << 20;
  lines.start({ files: [], leftOut: [], unopened: [] }, totalBytes);
  clock.ms += 1000;
  lines.update({ stage: "vocabulary", readBytes: 2 << 20, vocabSize: 0 });
  clock.ms += 1000;
  lines.update({ stage: "vocabulary", readBytes: totalBytes, vocabSize: 2048 });
  clock.ms += 500;
  const tokens = { stage: "tokens", totalBytes, textBytes: 1 << 20, tokens: 300 } as const;
  lines.update({ ...tokens, readBytes: 1 << 20, documents: 1, problems: 1 });
  lines.finish();
  assertEquals(written, [
    "0 files, 4.00 MiB\n",
    "vocabulary 2.00 MiB counted eta 1.0 s\n",
    "vocabulary 2,048 tokens\n",
    "tokenize 300 tokens, 2.00 MiB/s, 1 bad record eta 1.5 s\n",
  ]);
});
