import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { parseRunConfig } from "../lib/config/load.ts";
import { type Command, parseCommand } from "../lib/cli/command.ts";
import { program } from "../tasks/titanbit.ts";

const ROOT = new URL("../", import.meta.url);
const README = Deno.readTextFileSync(new URL("README.md", ROOT));

/** Code blocks of a language, in order. */
function blocks(language: string): string[] {
  return [...README.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .filter((match) => match[1] === language).map((match) => match[2]!);
}

/** Words of a shell line, with "…" as one word. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2]!);
}

Deno.test("README.md shows the quickstart first and the tests second", () => {
  assertEquals(blocks("sh").slice(0, 2), ["make quickstart\n", "make test\n"]);
});

Deno.test("README.md names only tasks and flags that are there", async () => {
  const text = blocks("sh").join("").replaceAll("\\\n", "");
  const lines = text.split("\n").filter((line) => line.startsWith("deno task "));
  assert(lines.length >= 8);
  for (const line of lines) {
    const [, , name, ...args] = words(line);
    const entry = program.commands.find((candidate) => candidate.name === name);
    assert(entry !== undefined, `no command ${name}: ${line}`);
    const { command } = await entry.load() as { command: Command };
    parseCommand(command, args);
  }
});

Deno.test("README.md shows a TypeScript example that runs by the command under it", async () => {
  const [example] = blocks("ts");
  const line = blocks("sh").join("").split("\n").find((line) => line.startsWith("deno run "))!;
  const folder = await Deno.makeTempDir();
  try {
    const mod = new URL("mod.ts", ROOT).href;
    await Deno.writeTextFile(`${folder}/example.ts`, example!.replace("./mod.ts", mod));
    const [, run, ...args] = words(line);
    const config = `--config=${fromFileUrl(new URL("deno.json", ROOT))}`;
    const { success, stdout, stderr } = await new Deno.Command("deno", {
      args: [run!, "--no-prompt", config, ...args],
      cwd: folder,
      env: { NO_COLOR: "1", TITANBIT_THREADS: "1" },
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    assertEquals(new TextDecoder().decode(stdout).trim().split("\n").length, 20);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("README.md shows a configuration that loads", () => {
  for (const text of blocks("yaml")) parseRunConfig(text, { file: "README.md" });
});

Deno.test("README.md maps files and folders that are there", () => {
  const map = blocks("").at(-1)!;
  const paths = [...map.matchAll(/^([\w./]+)\s{2,}/gm)].map((match) => match[1]!);
  assert(paths.length > 25);
  for (const path of paths) Deno.statSync(new URL(path, ROOT));
});

Deno.test("README.md maps every room of lib/", () => {
  const rooms = [...Deno.readDirSync(new URL("lib/", ROOT))].map(({ name }) => `lib/${name}/ `);
  assertEquals(rooms.filter((room) => !README.includes(`\n${room}`)), []);
});
