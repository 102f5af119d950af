import { assertEquals, assertRejects } from "@std/assert";
import { ensureDir, exists, walk } from "@std/fs";
import { inFolder } from "../data/support.ts";

async function walked(folder: string, options: Parameters<typeof walk>[1] = {}): Promise<string[]> {
  const entries = await Array.fromAsync(walk(folder, options));
  return entries.map(({ path }) => path.slice(folder.length)).sort();
}

function writeTree(folder: string): void {
  Deno.mkdirSync(`${folder}/a/b`, { recursive: true });
  for (const name of ["x.txt", "a/y.md", "a/b/z.txt"]) {
    Deno.writeTextFileSync(`${folder}/${name}`, "");
  }
  Deno.symlinkSync(`${folder}/x.txt`, `${folder}/link`);
}

Deno.test("walk() yields the root, folders, files and links below it", () =>
  inFolder(async (folder) => {
    writeTree(folder);
    assertEquals(await walked(folder), [
      "",
      "/a",
      "/a/b",
      "/a/b/z.txt",
      "/a/y.md",
      "/link",
      "/x.txt",
    ]);
  }));

Deno.test("walk() keeps to the depth, kinds and endings that it is given", () =>
  inFolder(async (folder) => {
    writeTree(folder);
    assertEquals(await walked(folder, { maxDepth: 1, includeSymlinks: false }), [
      "",
      "/a",
      "/x.txt",
    ]);
    assertEquals(await walked(folder, { exts: [".txt"] }), ["/a/b/z.txt", "/x.txt"]);
    assertEquals(
      await walked(folder, { includeFiles: false, skip: [/\/a$/], includeSymlinks: false }),
      [""],
    );
  }));

Deno.test("exists() tells files, folders and nothing apart", () =>
  inFolder(async (folder) => {
    writeTree(folder);
    const asked = [
      exists(`${folder}/a`),
      exists(`${folder}/a`, { isFile: true }),
      exists(`${folder}/x.txt`, { isFile: true }),
      exists(`${folder}/none`),
      exists(`${folder}/x.txt/below`),
    ];
    assertEquals(await Promise.all(asked), [true, false, true, false, false]);
  }));

Deno.test("ensureDir() makes a folder once and throws when a file has its name", () =>
  inFolder(async (folder) => {
    await ensureDir(`${folder}/a/b/c`);
    await ensureDir(`${folder}/a/b/c`);
    assertEquals(await exists(`${folder}/a/b/c`, { isDirectory: true }), true);
    Deno.writeTextFileSync(`${folder}/f`, "");
    await assertRejects(() => ensureDir(`${folder}/f`), Error, "a file of that name is there");
  }));
