import { assert, assertEquals, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { DataError } from "../../lib/data/errors.ts";
import { TokenDataset } from "../../lib/data/shards.ts";
import { HEADER_BYTES, readTokenFileInfo, tokenWidthFor } from "../../lib/data/token_format.ts";
import { TokenFileWriter } from "../../lib/data/token_writer.ts";
import { inFolder, sequence, testLibrary, writeTokens } from "./support.ts";

const HASH = "0123456789abcdef".repeat(4);

function read16(path: string, offset: number): number[] {
  return Array.from(new Uint16Array(Deno.readFileSync(path).slice(offset).buffer));
}

function llmcFile(
  path: string,
  fields: { magic: number; version: number; tokens: Uint16Array | Uint32Array },
) {
  const header = new Int32Array(256);
  header.set([fields.magic, fields.version, fields.tokens.length]);
  const { tokens } = fields;
  const bytes = new Uint8Array(1024 + tokens.byteLength);
  bytes.set(new Uint8Array(header.buffer));
  bytes.set(new Uint8Array(tokens.buffer), 1024);
  Deno.writeFileSync(path, bytes);
  return path;
}

Deno.test("readTokenFileInfo() gives back every field that TokenFileWriter was given", () =>
  inFolder((folder) => {
    const path = writeTokens(`${folder}/a.tokens`, {
      ids: sequence(1000),
      vocabSize: 128256,
      tokenWidth: 4,
      endOfDocumentId: 128001,
      startIds: [128000, 7],
      tokenizerHash: HASH,
    });
    assertEquals(readTokenFileInfo(path), {
      format: "titanbit",
      tokenWidth: 4,
      tokenCount: 1000,
      dataOffset: HEADER_BYTES,
      vocabSize: 128256,
      documentCount: 1,
      endOfDocumentId: 128001,
      startIds: [128000, 7],
      tokenizerHash: HASH,
    });
  }));

Deno.test("readTokenFileInfo() finds documents without a first token in a file from before there was a field for it", () =>
  inFolder((folder) => {
    const path = writeTokens(`${folder}/a.tokens`, { ids: sequence(10) });
    // Those headers are zeros from byte 80 on.
    assertEquals(Deno.readFileSync(path).subarray(80, 4092).every((byte) => byte === 0), true);
    assertEquals(readTokenFileInfo(path).startIds, []);
  }));

Deno.test("readTokenFileInfo() refuses a first token beyond the vocabulary", () =>
  inFolder((folder) => {
    const path = writeTokens(`${folder}/a.tokens`, {
      ...{ ids: sequence(10), vocabSize: 20, startIds: [20] },
    });
    assertThrows(() => readTokenFileInfo(path), DataError, "its header has 1, 20");
  }));

Deno.test("TokenDataset.open() names both files when their documents begin differently", () =>
  inFolder((folder) => {
    const paths = [[1], []].map((startIds, i) =>
      writeTokens(`${folder}/${i}.tokens`, { ids: sequence(10), startIds })
    );
    const options = { library: testLibrary(), vocabSize: 50000 };
    assertThrows(
      () => TokenDataset.open(paths, options),
      DataError,
      `Cannot use ${paths[1]} with ${
        paths[0]
      } as documents must begin alike: they begin with no token of their own, not with the id 1`,
    );
    using alone = TokenDataset.open(paths[0]!, options);
    assertEquals(alone.startIds, [1]);
  }));

Deno.test("TokenFileWriter writes tokens as little-endian numbers after one page when they come in many pieces", () =>
  inFolder((folder) => {
    const path = `${folder}/a.tokens`;
    using writer = new TokenFileWriter(path, { vocabSize: 65536, tokenWidth: 2 });
    const expected: number[] = [];
    for (let piece = 0; piece < 40; piece++) {
      const ids = sequence(30011, piece).map((id) => (id * 7) % 65536);
      writer.write(Uint32Array.from(ids));
      expected.push(...ids);
    }
    writer.close();
    writer.commit();
    const found = read16(path, 4096);
    assertEquals(found.length, expected.length);
    assertEquals(found.findIndex((token, i) => token !== expected[i]), -1);
  }));

Deno.test("TokenFileWriter.rollBack() takes back tokens in the buffer and on the disk", () =>
  inFolder((folder) => {
    const path = `${folder}/a.tokens`;
    using writer = new TokenFileWriter(path, { vocabSize: 10, tokenWidth: 2 });
    writer.write(Uint16Array.of(1, 2, 3));
    writer.write(new Uint16Array(2_000_000).fill(9));
    writer.rollBack(3);
    writer.write(Uint16Array.of(4));
    writer.write(Uint16Array.of(8, 8));
    writer.rollBack(4);
    writer.close();
    writer.commit();
    assertEquals(read16(path, 4096), [1, 2, 3, 4]);
  }));

Deno.test("TokenFileWriter leaves the old file and nothing else when it is not committed", () =>
  inFolder((folder) => {
    Deno.writeTextFileSync(`${folder}/a.tokens`, "old");
    {
      using writer = new TokenFileWriter(`${folder}/a.tokens`, { vocabSize: 10, tokenWidth: 2 });
      writer.write(Uint16Array.of(1, 2, 3));
      assertEquals(Array.from(Deno.readDirSync(folder)).length, 2);
    }
    assertEquals(Array.from(Deno.readDirSync(folder), (entry) => entry.name), ["a.tokens"]);
    assertEquals(Deno.readTextFileSync(`${folder}/a.tokens`), "old");
  }));

Deno.test("TokenFileWriter.write() throws when an id is outside the vocabulary", () =>
  inFolder((folder) => {
    using writer = new TokenFileWriter(`${folder}/a.tokens`, { vocabSize: 10, tokenWidth: 2 });
    assertThrows(() => writer.write(Uint16Array.of(1, 10)), RangeError, "token id 10");
    assertEquals(writer.tokenCount, 0);
  }));

Deno.test("tokenWidthFor() takes two bytes as long as every id fits", () => {
  assertEquals([65536, 65537].map(tokenWidthFor), [2, 4]);
});

Deno.test("readTokenFileInfo() reads nanoGPT's headerless .bin", () =>
  inFolder((folder) => {
    Deno.writeFileSync(`${folder}/train.bin`, new Uint8Array(Uint16Array.of(5, 6, 7).buffer));
    const info = readTokenFileInfo(`${folder}/train.bin`);
    assertEquals([info.format, info.tokenWidth, info.tokenCount, info.dataOffset], [
      "nanogpt",
      2,
      3,
      0,
    ]);
  }));

Deno.test("readTokenFileInfo() reads both kinds of llm.c files", () =>
  inFolder((folder) => {
    const two = llmcFile(`${folder}/2.bin`, {
      magic: 20240520,
      version: 1,
      tokens: Uint16Array.of(1, 2),
    });
    const four = llmcFile(`${folder}/4.bin`, {
      magic: 20240801,
      version: 7,
      tokens: Uint32Array.of(1, 2, 3),
    });
    const found = [two, four].map((path) => {
      const { format, tokenWidth, tokenCount, dataOffset } = readTokenFileInfo(path);
      return [format, tokenWidth, tokenCount, dataOffset];
    });
    assertEquals(found, [["llm.c", 2, 2, 1024], ["llm.c", 4, 3, 1024]]);
  }));

const BAD: [string, string, (path: string) => void, string][] = [
  ["the file is missing", "a.tokens", (path) => Deno.removeSync(path), "no such file"],
  [
    "the file is empty",
    "a.tokens",
    (path) => Deno.truncateSync(path, 0),
    "current length is 0 bytes",
  ],
  [
    "the header is cut short",
    "a.tokens",
    (path) => Deno.truncateSync(path, 100),
    "cut short after 100",
  ],
  [
    "the tokens are cut short",
    "a.tokens",
    (path) => Deno.truncateSync(path, 4096 + 199),
    "it is cut short",
  ],
  [
    "the file has a tail",
    "a.tokens",
    (path) => Deno.truncateSync(path, 4096 + 202),
    "it has a tail",
  ],
  [
    "a bit of the header is flipped",
    "a.tokens",
    (path) => flipBit(path, 24),
    "its header is damaged",
  ],
  ["the magic is another", "a.tokens", (path) => flipBit(path, 0), 'starts with "TITANTOK"'],
  ["a nanoGPT file has an odd length", "b.bin", (path) => Deno.truncateSync(path, 3), "cut short"],
  [
    "an llm.c file is cut short",
    "c.bin",
    (path) => Deno.truncateSync(path, 1030),
    "it is cut short",
  ],
  [
    "an llm.c header is cut short",
    "c.bin",
    (path) => Deno.truncateSync(path, 500),
    "cut short after 500",
  ],
  ["an llm.c file has another version", "c.bin", (path) => flipBit(path, 4), "have version 1"],
  ["an llm.c file holds something else", "d.bin", () => {}, "multiple-choice evaluation file"],
];

function flipBit(path: string, byte: number): void {
  const bytes = Deno.readFileSync(path);
  bytes[byte]! ^= 2;
  Deno.writeFileSync(path, bytes);
}

for (const [what, name, damage, message] of BAD) {
  Deno.test(`readTokenFileInfo() throws a DataError naming the file when ${what}`, () =>
    inFolder((folder) => {
      writeTokens(`${folder}/a.tokens`, { ids: sequence(100) });
      Deno.writeFileSync(`${folder}/b.bin`, new Uint8Array(200));
      llmcFile(`${folder}/c.bin`, { magic: 20240520, version: 1, tokens: new Uint16Array(100) });
      llmcFile(`${folder}/d.bin`, { magic: 20240522, version: 1, tokens: new Uint16Array(100) });
      const path = `${folder}/${name}`;
      damage(path);
      const error = assertThrows(() => readTokenFileInfo(path), DataError, message);
      assert(error.message.includes(path) && error.path === path);
    }));
}

/** Runs a script in a name space with a disk of its own mounted on $1; null where that is not allowed. */
async function onSmallDisk(folder: string, script: string): Promise<string | null> {
  const disk = `${folder}/disk`;
  Deno.mkdirSync(disk);
  const mounted = `mount -t tmpfs -o size=16k none "$1" || exit 77\n${script}`;
  Deno.writeTextFileSync(`${folder}/script.sh`, mounted);
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", 'unshare -rm sh "$1/script.sh" "$1/disk" || exit 77', "sh", folder],
  }).output();
  const text = new TextDecoder().decode(stdout);
  if (text === "" && code === 77) {
    console.warn(`no disk could be mounted: ${new TextDecoder().decode(stderr)}`);
    return null;
  }
  return text;
}

Deno.test("TokenFileWriter names its file and leaves nothing when the disk is full from the start", () =>
  inFolder(async (folder) => {
    const module = new URL("../../lib/data/token_writer.ts", import.meta.url).href;
    const config = fromFileUrl(new URL("../../deno.json", import.meta.url));
    Deno.writeTextFileSync(
      `${folder}/write.ts`,
      `import { TokenFileWriter } from "${module}";
       try {
         using writer = new TokenFileWriter(Deno.args[0], { vocabSize: 300, tokenWidth: 2 });
       } catch (error) { console.log(error.name, error.message); }`,
    );
    const found = await onSmallDisk(
      folder,
      `dd if=/dev/zero of="$1/fill" bs=4k count=100 2>/dev/null
       deno run -q -A --no-check --config "${config}" "${folder}/write.ts" "$1/a.tokens"
       ls "$1"`,
    );
    if (found === null) return;
    assertEquals(
      found,
      `DataError Cannot write ${folder}/disk/a.tokens as there must be room on the disk: No space left on device. ` +
        "Free some room or write to another disk\nfill\n",
    );
  }));
