import meta from "../../deno.json" with { type: "json" };
import { DivergedError } from "../../lib/stability/diverged_error.ts";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  type Command,
  parseCommand,
  reportError,
  runCommand,
  UsageError,
} from "../../lib/cli/command.ts";
import { formatHelp } from "../../lib/cli/help.ts";
import { captureConsole } from "../support/console.ts";

function demo(overrides: Partial<Command> = {}): Command {
  return {
    name: "demo",
    summary: "show every kind of flag",
    flags: [
      { name: "config", kind: "string", help: "config file", alias: "c" },
      {
        name: "device",
        kind: "string",
        help: "device",
        choices: ["auto", "cuda", "cpu"],
        default: "auto",
      },
      { name: "temperature", kind: "number", help: "heat", default: 1, min: 0 },
      { name: "seed", kind: "integer", help: "seed" },
      { name: "json", kind: "boolean", help: "print JSON" },
      { name: "stream", kind: "boolean", help: "print as it comes", default: true },
      { name: "set", kind: "list", help: "assignments" },
    ],
    examples: ["deno task demo --config a.yaml"],
    run: () => Promise.resolve(),
    ...overrides,
  };
}

function usageError(argv: string[], command = demo()): string {
  return assertThrows(() => parseCommand(command, argv), UsageError).message;
}

Deno.test("parseCommand() reads values after a space, an equals sign and an alias alike", () => {
  for (
    const argv of [["--config", "a.yaml"], ["--config=a.yaml"], ["-c", "a.yaml"], ["-c=a.yaml"]]
  ) {
    assertEquals(parseCommand(demo(), argv).string("config"), "a.yaml");
  }
});

Deno.test("parseCommand() keeps equals signs inside a value", () => {
  assertEquals(parseCommand(demo(), ["--set", "a.b=c=d", "--set=x=y"]).list("set"), [
    "a.b=c=d",
    "x=y",
  ]);
});

Deno.test("parseCommand() leaves list and string values uncoerced", () => {
  const args = parseCommand(demo(), ["--set", "001", "--config", "0x10"]);
  assertEquals([args.list("set"), args.string("config")], [["001"], "0x10"]);
});

Deno.test("parseCommand() takes a negative number as a value", () => {
  assertEquals(parseCommand(demo(), ["--seed", "-3"]).integer("seed"), -3);
});

Deno.test("parseCommand() takes an empty string as a value", () => {
  assertEquals(parseCommand(demo(), ["--config", ""]).string("config"), "");
});

Deno.test("parseCommand() reads scientific notation as a number", () => {
  assertEquals(parseCommand(demo(), ["--temperature", "7e-1"]).number("temperature"), 0.7);
});

Deno.test("parseCommand() gives defaults where flags are absent", () => {
  const args = parseCommand(demo(), []);
  assertEquals(
    [
      args.string("device"),
      args.number("temperature"),
      args.boolean("json"),
      args.boolean("stream"),
    ],
    ["auto", 1, false, true],
  );
});

Deno.test("parseCommand() turns a boolean that is on by default off with --no-", () => {
  assertEquals(parseCommand(demo(), ["--no-stream"]).boolean("stream"), false);
});

Deno.test("ParsedArgs.has() tells a given value from a default", () => {
  const args = parseCommand(demo(), ["--device", "auto"]);
  assertEquals([args.has("device"), args.has("temperature")], [true, false]);
});

Deno.test("ParsedArgs throws when a getter and the declared kind disagree", () => {
  assertThrows(() => parseCommand(demo(), []).integer("temperature"), TypeError, "as number");
});

Deno.test("parseCommand() names the nearest flag when one is unknown", () => {
  assertEquals(
    usageError(["--confg", "a"]),
    "Cannot run demo as it has no flag --confg, did you mean --config?",
  );
});

Deno.test("parseCommand() points to --help when no flag is near", () => {
  assertStringIncludes(usageError(["--zzzzzzzzzzzz"]), "`deno task demo --help`");
});

Deno.test("parseCommand() names the nearest choice when a value is none of them", () => {
  assertEquals(
    usageError(["--device", "cud"]),
    'Cannot run demo as --device must be one of auto, cuda, cpu: current value is "cud", did you mean cuda?',
  );
});

for (
  const [text, why] of [["1.5", "fraction"], ["x", "word"], ["", "empty"], ["1e16", "unsafe"], [
    "0x10",
    "hex",
  ]]
) {
  Deno.test(`parseCommand() refuses an integer flag's value when it is ${why}`, () => {
    assertStringIncludes(
      usageError([`--seed=${text}`]),
      `Cannot read --seed as it must be a whole number: current value is "${text}"`,
    );
  });
}

Deno.test("parseCommand() refuses a number below its least", () => {
  assertStringIncludes(
    usageError(["--temperature", "-1"]),
    "Cannot read --temperature as it must be a number of at least 0: current value is -1",
  );
});

Deno.test("parseCommand() refuses a flag without its value", () => {
  assertStringIncludes(usageError(["--config"]), "--config needs a value");
});

Deno.test("parseCommand() doesn't take the next flag as a value", () => {
  assertStringIncludes(usageError(["--config", "--json"]), "--config needs a value");
});

Deno.test("parseCommand() refuses a flag given twice that isn't a list", () => {
  assertStringIncludes(
    usageError(["--seed", "1", "--seed", "2"]),
    'current values are "1" and "2"',
  );
});

Deno.test("parseCommand() refuses a boolean with another value", () => {
  assertStringIncludes(
    usageError(["--json=maybe"]),
    'Cannot read --json as it must be true or false: current value is "maybe"',
  );
});

Deno.test("parseCommand() refuses arguments that nothing takes", () => {
  assertStringIncludes(usageError(["stray"]), '"stray"');
});

Deno.test("parseCommand() says which required flag is missing", () => {
  const command = demo({
    flags: [{ name: "input", kind: "string", help: "text to read", required: true }],
  });
  assertStringIncludes(usageError([], command), "--input is required: text to read");
});

Deno.test("parseCommand() hands everything after -- to the positionals", () => {
  const command = demo({ positionals: [{ name: "words", help: "words", variadic: true }] });
  assertEquals(parseCommand(command, ["--json", "--", "--seed", "7"]).positionals, ["--seed", "7"]);
});

Deno.test("formatHelp() shows every flag, default, choice and example", () => {
  const help = formatHelp(demo());
  for (
    const part of [
      "demo: show every kind of flag",
      "deno task demo",
      "-c, --config TEXT",
      "--device auto|cuda|cpu",
      "(default auto)",
      "--[no-]stream",
      "(may be given several times)",
      "deno task demo --config a.yaml",
    ]
  ) assertStringIncludes(help, part);
});

Deno.test("runCommand() prints help on stdout and returns 0 when asked, whatever else is wrong", async () => {
  const { code, stdout } = await captureConsole(() => runCommand(demo(), ["--bogus", "--help"]));
  assertEquals(code, 0);
  assertStringIncludes(stdout, "Usage: deno task demo");
});

Deno.test("runCommand() prints the version on stdout and returns 0 when asked", async () => {
  for (const flag of ["--version", "-V"]) {
    const found = await captureConsole(() => runCommand(demo(), ["--seed", "1", flag]));
    assertEquals(found, { code: 0, stdout: `titanbit ${meta.version}\n`, stderr: "" });
  }
});

Deno.test("runCommand() prints the message alone on stderr and returns 1 when the command throws", async () => {
  const command = demo({ run: () => Promise.reject(new RangeError("Cannot do it")) });
  const { code, stdout, stderr } = await captureConsole(() => runCommand(command, []));
  assertEquals([code, stdout, stderr], [1, "", "error: Cannot do it\n"]);
});

Deno.test("runCommand() returns 3 when a run has diverged", async () => {
  const error = new DivergedError("Cannot go on", 7);
  const { code } = await captureConsole(() =>
    runCommand(demo({ run: () => Promise.reject(error) }), [])
  );
  assertEquals(code, 3);
});

Deno.test("runCommand() returns the command's own exit code", async () => {
  assertEquals(await runCommand(demo({ run: () => Promise.resolve(3) }), []), 3);
});

Deno.test("reportError() is silent when the reader has closed the pipe", async () => {
  const { code, stderr } = await captureConsole(() =>
    Promise.resolve(reportError(new Deno.errors.BrokenPipe("gone")))
  );
  assertEquals([code, stderr], [141, ""]);
});

Deno.test("parseCommand() takes the bare value when a flag that has one is given without another", () => {
  const flag = { name: "port", kind: "integer", help: "port", bare: "80" } as const;
  const command = demo({ flags: [flag, { name: "json", kind: "boolean", help: "print JSON" }] });
  const port = (...argv: string[]) => parseCommand(command, argv).optionalInteger("port");
  assertEquals(port(), undefined);
  assertEquals(port("--port"), 80);
  assertEquals(port("--port", "--json"), 80);
  assertEquals(port("--port", "9"), 9);
  assertEquals(port("--port=9"), 9);
});
