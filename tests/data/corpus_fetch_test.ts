import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DataError } from "../../lib/data/errors.ts";
import { fetchSotuCorpus, isHeldOut } from "../../lib/data/sotu_corpus.ts";
import { readTar } from "../../lib/data/tar.ts";
import { inFolder, sequence } from "./support.ts";

const LONG = `${"deep/".repeat(30)}${"name".repeat(30)}.txt`;
const NAMES = ["one.txt", "empty", "é.txt", LONG];

/** An archive of {@linkcode NAMES} in one of tar's formats, made by the system's tar. */
async function archive(folder: string, format: string): Promise<Uint8Array> {
  for (const [i, name] of NAMES.entries()) {
    const path = `${folder}/package/${name}`;
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    Deno.writeTextFileSync(path, name === "empty" ? "" : "x".repeat(500 + 13 * i));
  }
  Deno.symlinkSync("one.txt", `${folder}/package/link`);
  const script = `tar --format=${format} -cf out.tar package`;
  const { success } = await new Deno.Command("sh", { args: ["-c", script], cwd: folder }).output();
  assert(success);
  return Deno.readFileSync(`${folder}/out.tar`);
}

for (const format of ["gnu", "pax"]) {
  Deno.test(`readTar() yields the regular files of a ${format} archive, long names whole`, () =>
    inFolder(async (folder) => {
      const found = Array.from(
        readTar(await archive(folder, format)),
        ({ name, bytes }) => [name, bytes.length],
      );
      const expected = NAMES.map((
        name,
        i,
      ) => [`package/${name}`, name === "empty" ? 0 : 500 + 13 * i]);
      assertEquals(found.sort(), expected.sort());
    }));
}

Deno.test("readTar() throws when the archive is cut short or a header is damaged", () =>
  inFolder(async (folder) => {
    const bytes = await archive(folder, "pax");
    const end = Array.from(readTar(bytes)).length;
    assertEquals(end, NAMES.length);
    for (const length of sequence(Math.floor(bytes.length / 256) - 24).map((i) => 256 * i + 40)) {
      const whole: number[] = [];
      assertThrows(
        () => {
          for (const entry of readTar(bytes.subarray(0, length))) whole.push(entry.bytes.length);
        },
        Error,
        "cut short",
      );
      // What was yielded before is complete: lengths of whole files.
      assertEquals(
        whole.filter((size) => size !== 0 && (size < 500 || (size - 500) % 13 !== 0)),
        [],
      );
    }
    bytes[3]! ^= 1;
    assertThrows(() => Array.from(readTar(bytes)), Error, "damaged");
  }));

Deno.test("isHeldOut() takes 5% of the addresses, spread evenly", () => {
  const held = sequence(233).filter(isHeldOut);
  assertEquals(held.length, 12);
  assertEquals(new Set(held.slice(1).map((number, i) => number - held[i]!)), new Set([20]));
});

Deno.test("fetchSotuCorpus() fetches nothing when the folder is there", () =>
  inFolder(async (folder) => {
    for (const [part, count] of [["train", 3], ["heldout", 1]] as const) {
      Deno.mkdirSync(`${folder}/sotu/${part}`, { recursive: true });
      for (let i = 0; i < count; i++) {
        Deno.writeTextFileSync(`${folder}/sotu/${part}/${i}.txt`, "text");
      }
    }
    const { train, heldOut, bytes, fetched } = await fetchSotuCorpus(`${folder}/sotu`);
    assertEquals([train, heldOut, bytes, fetched], [3, 1, 16, false]);
  }));

Deno.test("fetchSotuCorpus() throws when the folder holds something else", () =>
  inFolder(async (folder) => {
    Deno.mkdirSync(`${folder}/sotu/mine`, { recursive: true });
    await assertRejects(() => fetchSotuCorpus(`${folder}/sotu`), DataError, "no folder train");
    assertEquals(Deno.statSync(`${folder}/sotu/mine`).isDirectory, true);
  }));
