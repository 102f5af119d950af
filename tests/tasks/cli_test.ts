import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import meta from "../../deno.json" with { type: "json" };
import { parseCommand, runCommand, UsageError } from "../../lib/cli/command.ts";
import { program } from "../../tasks/titanbit.ts";
import { captureConsole } from "../support/console.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

async function titanbit(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command("deno", {
    args: [
      "run",
      "--no-prompt",
      "--allow-read",
      "--allow-env=TITANBIT_TRACE",
      "tasks/titanbit.ts",
      ...args,
    ],
    cwd: ROOT,
    env: { NO_COLOR: "1", TITANBIT_TRACE: "" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

for (const { name, summary, load } of program.commands) {
  Deno.test(`titanbit ${name} is the command that its table says, and deno.json has the same task`, async () => {
    const { command } = await load();
    assertEquals([command.name, command.summary], [name, summary]);
    assert(name in meta.tasks, `deno.json has no task ${name}`);
  });

  Deno.test(`titanbit ${name} --help names every flag and gives examples`, async () => {
    const { command } = await load();
    const { code, stdout } = await captureConsole(() => runCommand(command, ["--help"]));
    assertEquals(code, 0);
    for (const flag of command.flags) assertStringIncludes(stdout, flag.name);
    assert(command.examples.length > 0, "no examples");
    for (const example of command.examples) assertStringIncludes(example, `deno task ${name}`);
  });

  Deno.test(`titanbit ${name} refuses an unknown flag`, async () => {
    const { command } = await load();
    const { code, stderr } = await captureConsole(() => runCommand(command, ["--no-such-flag"]));
    assertEquals(code, 1);
    assertStringIncludes(stderr, `error: Cannot run ${name} as it has no flag --no-such-flag`);
  });

  Deno.test(`titanbit ${name}'s examples fit its flags`, async () => {
    const { command } = await load();
    for (const example of command.examples) {
      const words = /deno task \S+(.*)$/.exec(example)?.[1] ?? "";
      const argv = [...words.split("|")[0]!.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)]
        .map(([, double, single, bare]) => double ?? single ?? bare!);
      try {
        parseCommand(command, argv);
      } catch (error) {
        if (error instanceof UsageError) throw new Error(`${example}: ${error.message}`);
        throw error;
      }
    }
  });
}

Deno.test("titanbit --version prints the version of deno.json", async () => {
  assertEquals(await titanbit("--version"), {
    code: 0,
    stdout: `titanbit ${meta.version}\n`,
    stderr: "",
  });
});

Deno.test("titanbit with an unknown command exits with 1 and names the nearest one", async () => {
  const { code, stdout, stderr } = await titanbit("tokenise");
  assertEquals([code, stdout], [1, ""]);
  assertEquals(
    stderr,
    "error: Cannot run titanbit tokenise as there is no such command, did you mean tokenize?\n",
  );
});

Deno.test("titanbit prints no stack unless TITANBIT_TRACE=1", async () => {
  const quiet = await titanbit("info", "--bogus");
  assertEquals(quiet.stderr.split("\n").length, 2);
  const { stderr } = await new Deno.Command("deno", {
    args: [
      "run",
      "--no-prompt",
      "--allow-read",
      "--allow-env=TITANBIT_TRACE",
      "tasks/titanbit.ts",
      "info",
      "--bogus",
    ],
    cwd: ROOT,
    env: { NO_COLOR: "1", TITANBIT_TRACE: "1" },
  }).output();
  assertStringIncludes(new TextDecoder().decode(stderr), "    at ");
});

Deno.test("titanbit ends quietly when the reader closes the pipe", async () => {
  const { stderr } = await new Deno.Command("sh", {
    args: [
      "-c",
      "deno run --no-prompt --allow-read --allow-env=TITANBIT_TRACE tasks/titanbit.ts help | true",
    ],
    cwd: ROOT,
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
});
