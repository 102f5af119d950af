import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { UsageError } from "../../lib/cli/command.ts";
import {
  checkOutputFile,
  makeOutputFolder,
  readTextFlag,
  writingOutput,
} from "../../lib/cli/files.ts";

/** Runs `body` in a folder that holds the file `file`. */
async function withFile(body: (folder: string, file: string) => unknown): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const file = join(folder, "file");
    await Deno.writeTextFile(file, "text");
    await body(folder, file);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("readTextFlag() says in a sentence what the system has against a file", () =>
  withFile(async (folder, file) => {
    assertEquals(await readTextFlag("prompts", file), "text");
    const refused = (path: string, reason: string) =>
      assertRejects(
        () => readTextFlag("prompts", path),
        UsageError,
        `Cannot read --prompts as ${path} must be a file that can be read: current value is ${reason}; give a text file, or - for`,
      );
    await refused(join(folder, "none"), "no such file or directory");
    await refused(folder, "a directory");
    await refused(join(file, "below"), "not a directory");
  }));

Deno.test("checkOutputFile() names the folder that is missing, and a folder in the file's place", () =>
  withFile((folder, file) => {
    checkOutputFile("output", file);
    checkOutputFile("output", join(folder, "new"));
    const refused = (path: string, message: string) =>
      assertThrows(() => checkOutputFile("output", path), UsageError, message);
    refused(join(folder, "none", "a.html"), "must be a folder: current value is nothing; make it");
    refused(join(file, "a.html"), "must be a folder: current value is a file; name another");
    refused(folder, "must name a file: current value is a folder; name a file in it");
  }));

Deno.test("makeOutputFolder() makes folders, and says what stands in their place", () =>
  withFile((folder, file) => {
    const made = join(folder, "a", "b");
    makeOutputFolder("output", made);
    makeOutputFolder("output", made);
    assertEquals(Deno.statSync(made).isDirectory, true);
    for (const path of [file, join(file, "below")]) {
      assertThrows(
        () => makeOutputFolder("output", path),
        UsageError,
        `Cannot write --output as ${path} must be a folder, or a place for one: current value is`,
      );
    }
  }));

Deno.test("writingOutput() names the flag and the path when the system refuses the write", async () => {
  await assertRejects(
    () =>
      writingOutput(
        { flag: "output", path: "/proc/x" },
        () => Promise.reject(new Error("Permission denied (os error 13): open '/proc/x'")),
      ),
    UsageError,
    "Cannot write --output /proc/x as it must be writable: current value is permission denied; nothing",
  );
});
