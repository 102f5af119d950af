import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { join } from "@std/path";
import { fingerprintOf, sameContent } from "../../lib/data/fingerprint.ts";
import { TokenDataset } from "../../lib/data/shards.ts";
import { inFolder, testLibrary } from "./support.ts";

const LARGE = 400_000;

/** A headerless token file whose bytes all are 1. */
function fingerprint(folder: string, change: (bytes: Uint8Array) => void, bytes = LARGE) {
  const path = join(folder, "a.bin");
  const content = new Uint8Array(bytes).fill(1);
  change(content);
  Deno.writeFileSync(path, content);
  using dataset = TokenDataset.open(path, { library: testLibrary(), vocabSize: 65536 });
  return fingerprintOf(dataset.shards[0]!);
}

Deno.test("fingerprintOf() tells name and length, and gives the same for the same content", () =>
  inFolder((folder) => {
    const one = fingerprint(folder, () => {});
    assertEquals([one.name, one.bytes], ["a.bin", LARGE]);
    assertEquals(fingerprint(folder, () => {}), one);
  }));

Deno.test("fingerprintOf() sees any byte of a file of up to 131,072 bytes", () =>
  inFolder((folder) => {
    const one = fingerprint(folder, () => {}, 131_072);
    for (const place of [0, 5_000, 70_001, 131_071]) {
      const other = fingerprint(folder, (bytes) => bytes[place] = 2, 131_072);
      assertNotEquals(other.hash, one.hash, `byte ${place}`);
    }
  }));

Deno.test("fingerprintOf() sees the first and the last byte of a long file, and a change of 3% anywhere", () =>
  inFolder((folder) => {
    const one = fingerprint(folder, () => {});
    assertNotEquals(fingerprint(folder, (bytes) => bytes[0] = 2).hash, one.hash);
    assertNotEquals(fingerprint(folder, (bytes) => bytes[LARGE - 1] = 2).hash, one.hash);
    const length = Math.ceil(LARGE / 31);
    for (let start = 0; start + length <= LARGE; start += 6_007) {
      const other = fingerprint(folder, (bytes) => bytes.fill(2, start, start + length));
      assertNotEquals(other.hash, one.hash, `bytes from ${start}`);
    }
  }));

Deno.test("sameContent() compares length and hash, of a damaged file the length alone, and never the name", () => {
  const file = { name: "a", bytes: 8, hash: "00" };
  assert(sameContent(file, { ...file, name: "b" }));
  assert(!sameContent(file, { ...file, hash: "01" }));
  assert(sameContent({ ...file, hash: null }, { ...file, hash: "01" }));
  assert(!sameContent({ ...file, hash: null }, { ...file, bytes: 9 }));
});
