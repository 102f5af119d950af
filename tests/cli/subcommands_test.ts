import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Program, runProgram } from "../../lib/cli/subcommands.ts";
import { captureConsole } from "../support/console.ts";

function program(loaded: string[] = []): Program {
  return {
    name: "titanbit",
    summary: "test",
    version: "1.2.3",
    commands: ["train", "tokenize"].map((name) => ({
      name,
      summary: `${name} it`,
      load() {
        loaded.push(name);
        const run = () => Promise.resolve(7);
        return Promise.resolve({
          command: { name, summary: `${name} it`, flags: [], examples: [], run },
        });
      },
    })),
  };
}

Deno.test("runProgram() loads only the command that is asked for and returns its exit code", async () => {
  const loaded: string[] = [];
  assertEquals(await runProgram(program(loaded), ["train"]), 7);
  assertEquals(loaded, ["train"]);
});

Deno.test("runProgram() names the nearest command when one is unknown", async () => {
  const { code, stderr } = await captureConsole(() => runProgram(program(), ["trian"]));
  assertEquals(code, 1);
  assertEquals(
    stderr,
    "error: Cannot run titanbit trian as there is no such command, did you mean train?\n",
  );
});

Deno.test("runProgram() prints the version", async () => {
  assertEquals(
    (await captureConsole(() => runProgram(program(), ["--version"]))).stdout,
    "titanbit 1.2.3\n",
  );
});

Deno.test("runProgram() prints a command's help for `help NAME` and for `NAME --help`", async () => {
  const one = await captureConsole(() => runProgram(program(), ["help", "train"]));
  const other = await captureConsole(() => runProgram(program(), ["train", "--help"]));
  assertStringIncludes(one.stdout, "train: train it");
  assertEquals(one, other);
});

Deno.test("runProgram() lists the commands on stdout when asked and on stderr with 1 when nothing is", async () => {
  const asked = await captureConsole(() => runProgram(program(), ["--help"]));
  const bare = await captureConsole(() => runProgram(program(), []));
  assertStringIncludes(asked.stdout, "tokenize  tokenize it");
  assertEquals([asked.code, bare.code, bare.stdout, bare.stderr], [0, 1, "", asked.stdout]);
});
