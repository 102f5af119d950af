import { assertRejects } from "@std/assert";
import { join } from "@std/path";
import { checkProgram } from "../../lib/dist/start.ts";

/** A program that answers to `--version` and to `info --json`. */
const program = (version: string, info: string) =>
  `#!/bin/sh\nif [ "$1" = --version ]; then echo '${version}'; else ${info}; fi\n`;

const INFO = `echo '{ "found": { "libraries": [{}], "problem": null } }'`;
const NO_LIBRARY = `echo '{ "found": { "libraries": [], "problem": "it has no symbols" } }'`;

async function check(text: string): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "program"), text, { mode: 0o755 });
    await checkProgram(join(folder, "program"), "1.2.3");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("checkProgram() accepts a program that says its version and finds its library", async () => {
  await check(program("titanbit 1.2.3", INFO));
});

for (
  const [what, text, message] of [
    ["is another program", program("deno 2.9.6", INFO), 'current value is "deno 2.9.6"'],
    ["is of another version", program("titanbit 1.2.30", INFO), 'must print "titanbit 1.2.3"'],
    ["finds no library", program("titanbit 1.2.3", NO_LIBRARY), '"it has no symbols"'],
    ["fails", program("titanbit 1.2.3", "echo no >&2; exit 4"), 'current value is 4, "no"'],
    ["does not start", "\x7fELF", "`--version` must end with code 0"],
  ] as const
) {
  Deno.test(`checkProgram() throws when the program ${what}`, async () => {
    await assertRejects(() => check(text), Error, message);
  });
}
