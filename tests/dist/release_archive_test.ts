import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { systemNeeds } from "../../lib/dist/needs.ts";
import { archiveRelease } from "../../lib/dist/release.ts";

async function withRelease(run: (folder: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(root, "release/bin"), { recursive: true });
    await Deno.writeTextFile(join(root, "release/bin/deno"), "GLIBC_2.27\0GLIBC_2.5\0");
    await Deno.writeTextFile(join(root, "release/a.so"), "GLIBC_2.9\0");
    await Deno.writeTextFile(join(root, "release/note.txt"), "GLIBC_2.99\0");
    await run(join(root, "release"));
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("systemNeeds() names the newest glibc that any binary asks for", async () => {
  await withRelease(async (folder) => {
    assert((await systemNeeds(folder)).endsWith("with glibc 2.27 or newer"));
    await Deno.writeTextFile(join(folder, "b.so.1"), "x\0GLIBC_2.36\0");
    assert((await systemNeeds(folder)).endsWith("with glibc 2.36 or newer"));
  });
});

Deno.test("archiveRelease() gives the same bytes again, and tells how far it is", async () => {
  await withRelease(async (folder) => {
    const release = { folder, version: "1.2.3", needs: "a test" };
    const told: [number, number][] = [];
    const archives = [];
    for (const name of ["a", "b"]) {
      const archive = `${folder}.${name}.tar.gz`;
      await archiveRelease(release, {
        archive,
        packed: (done, total) => told.push([done, total]),
      });
      archives.push(await Deno.readFile(archive));
      await Deno.utime(join(folder, "a.so"), 1, 1);
    }
    assertEquals(archives[0], archives[1]);
    const total = 21 + 10 + 11;
    assertEquals(told.at(-1), [total, total]);
    assert(told.length > 2 && told.every(([done, of]) => done <= of && of === total));
  });
});
