import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { printable } from "../../lib/cli/printable.ts";
import { TrainingReport } from "../../lib/cli/training_report.ts";
import { CHECKPOINT, RUN, STEP } from "../metrics/support.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));
/** Clears the screen, sets the window's title, and the same by single characters. */
const HOSTILE = "a\x1b[2J\x1b]0;title\x07\x9b2Jb";

Deno.test("printable() shows what would steer a terminal and leaves text as it is", () => {
  assertEquals(printable(HOSTILE), "a\\u001b[2J\\u001b]0;title\\u0007\\u009b2Jb");
  assertEquals(printable("\r\x7f\u202e\u2028"), "\\u000d\\u007f\\u202e\\u2028");
  const plain = "Grüße, 日本語 👩‍🚀\n\tand more";
  assertEquals(printable(plain), plain);
});

Deno.test("TrainingReport shows names of runs, files and metrics without what they would do to a terminal", () => {
  let written = "";
  const report = new TrainingReport({
    ...{ steps: 20, style: "plain" },
    output: { write: (text) => void (written += text), columns: () => null },
  });
  report.record({ ...RUN, run: HOSTILE });
  report.record({ ...STEP, metrics: { [HOSTILE]: 1 } });
  report.record({ ...CHECKPOINT, path: HOSTILE });
  report.warn(HOSTILE);
  report.finish();
  assertEquals(written.split(printable(HOSTILE)).length, 5);
  // deno-lint-ignore no-control-regex -- they are what must not be there
  assert(!/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(written), JSON.stringify(written));
});

Deno.test("an error names a file without what its name would do to a terminal", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--cached-only", `${ROOT}tasks/report.ts`, "--run", HOSTILE],
    env: { NO_COLOR: "1", TITANBIT_TRACE: "1" },
  }).output();
  const text = new TextDecoder().decode(stderr);
  assertEquals(code, 1);
  assertStringIncludes(text, printable(HOSTILE));
  for (const one of ["\x1b", "\x07", "\x9b"]) assert(!text.includes(one), JSON.stringify(text));
});

Deno.test("what commands say on stderr goes through tell()", () => {
  const direct: string[] = [];
  for (const folder of ["tasks", "lib/cli", "lib/dashboard", "lib/training", "lib/inference"]) {
    for (const { name, isFile } of Deno.readDirSync(join(ROOT, folder))) {
      if (!isFile || !name.endsWith(".ts")) continue;
      const text = Deno.readTextFileSync(join(ROOT, folder, name));
      // With words of their own alone, or help.
      const found = text.matchAll(/console\.(?:error|warn)\((?!printable\(|format\w*Help\()/g);
      direct.push(...Array.from(found, () => `${folder}/${name}`));
    }
  }
  // They print what belongs to the source tree.
  assertEquals(direct.sort(), [
    "tasks/check_layers.ts",
    "tasks/fetch_corpus.ts",
    "tasks/quickstart.ts",
  ]);
});
