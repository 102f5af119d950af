import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { findCommit } from "../../lib/cli/version.ts";
import { withFolder } from "../inference/support.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** Writes the files into a fresh folder and looks for the commit of its subfolder `tree`. */
function commitOf(files: Record<string, string>, expected: string | null): Promise<void> {
  return withFolder(async (folder) => {
    await Deno.mkdir(join(folder, "tree"));
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(join(folder, path, ".."), { recursive: true });
      await Deno.writeTextFile(join(folder, path), text);
    }
    assertEquals(findCommit(join(folder, "tree")), expected);
  });
}

Deno.test("findCommit() reads a branch, a packed branch and a commit that is checked out by itself", async () => {
  const head = "ref: refs/heads/main\n";
  await commitOf({ "tree/.git/HEAD": head, "tree/.git/refs/heads/main": `${COMMIT}\n` }, COMMIT);
  const packed = `# pack-refs\n${"f".repeat(40)} refs/heads/mainly\n${COMMIT} refs/heads/main\n`;
  await commitOf({ "tree/.git/HEAD": head, "tree/.git/packed-refs": packed }, COMMIT);
  await commitOf({ "tree/.git/HEAD": `${COMMIT}\n` }, COMMIT);
});

Deno.test("findCommit() follows a worktree to its repository", () =>
  commitOf({
    "tree/.git": "gitdir: ../main/.git/worktrees/tree\n",
    "main/.git/worktrees/tree/HEAD": "ref: refs/heads/side\n",
    "main/.git/worktrees/tree/commondir": "../..\n",
    "main/.git/refs/heads/side": `${COMMIT}\n`,
  }, COMMIT));

Deno.test("findCommit() finds none when there is no repository, or no commit in it", async () => {
  await commitOf({}, null);
  await commitOf({ "tree/.git/HEAD": "ref: refs/heads/main\n" }, null);
});
