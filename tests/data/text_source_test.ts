import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { DataError } from "../../lib/data/errors.ts";
import { extractText } from "../../lib/data/text/extract.ts";
import { findSourceFiles } from "../../lib/data/text/source_files.ts";
import { ZstdFrameSplitter } from "../../lib/data/text/zstd_frames.ts";
import { workUnits } from "../../lib/data/text/work_units.ts";
import { inFolder, randomNumbers } from "./support.ts";
import { readDocuments } from "./text_support.ts";

const encoder = new TextEncoder();

/** Text of words and newlines; the same for the same seed. */
function story(length: number, seed = 1): string {
  const random = randomNumbers(seed);
  const words = ["the", "ship", "sailed", "über", "世界", "and", "then", "😀", "12", "knots"];
  let text = "";
  while (text.length < length) {
    text += words[random() % words.length]! + (random() % 9 === 0 ? "\n" : " ");
  }
  return text;
}

function jsonLines(records: readonly unknown[]): string {
  return records.map((record) => JSON.stringify(record) + "\n").join("");
}

Deno.test("findSourceFiles() lists a folder's texts recursively in the order of their paths", () =>
  inFolder(async (folder) => {
    for (const dir of ["b", "a", ".git"]) Deno.mkdirSync(`${folder}/${dir}`);
    const names = [
      "b/x.txt",
      "a/z.md",
      "a/b.jsonl.gz",
      "c.parquet",
      "B.TXT.zst",
      "skip.pdf",
      ".git/y.txt",
      ".hid.txt",
    ];
    for (const name of names) Deno.writeTextFileSync(`${folder}/${name}`, "x");
    const { files, leftOut } = await findSourceFiles(folder);
    const found = files.map((
      { path, kind, compression },
    ) => [path.slice(folder.length + 1), kind, compression]);
    assertEquals(found, [
      ["B.TXT.zst", "text", "zst"],
      ["a/b.jsonl.gz", "jsonl", "gz"],
      ["a/z.md", "text", "none"],
      ["b/x.txt", "text", "none"],
      ["c.parquet", "parquet", "none"],
    ]);
    assertEquals(leftOut, [`${folder}/skip.pdf`]);
  }));

/** Does in the folder what a shell command says: names that are no UTF-8 can't be said otherwise. */
async function inShell(folder: string, command: string): Promise<void> {
  const { success } = await new Deno.Command("sh", { args: ["-c", command], cwd: folder }).output();
  assert(success);
}

Deno.test("findSourceFiles() lists the rest and names what has a name that is no UTF-8", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/a.txt`, "fine");
    // Latin-1: ü is the byte 0xfc, octal 374.
    const names = ["u\\374.txt", "z\\374.pdf", "d\\374/b.txt", ".h\\374.txt"].map((name) =>
      `"$(printf '${name}')"`
    );
    await inShell(
      folder,
      `mkdir "$(printf 'd\\374')"; for f in ${names.join(" ")}; do echo x > "$f"; done`,
    );
    const { files, leftOut, unopened } = await findSourceFiles(folder);
    assertEquals(files.map(({ path }) => path), [`${folder}/a.txt`]);
    assertEquals(leftOut, [`${folder}/z\\ufffd.pdf`]);
    assertEquals(unopened, [`${folder}/d\\ufffd`, `${folder}/u\\ufffd.txt`]);
  }));

Deno.test("findSourceFiles() takes a file once when a name that is no UTF-8 reads like its own", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/a\ufffd.txt`, "fine");
    await inShell(folder, `echo x > "$(printf 'a\\374.txt')"; echo x > "$(printf 'a\\344.txt')"`);
    const { files, unopened } = await findSourceFiles(folder);
    assertEquals(files.map(({ path, bytes }) => [path, bytes]), [[`${folder}/a\ufffd.txt`, 4]]);
    assertEquals(unopened, Array(2).fill(`${folder}/a\\ufffd.txt`));
  }));

Deno.test("findSourceFiles() throws a DataError that names the file when its name is no UTF-8 and no other is there", () =>
  inFolder(async (folder) => {
    await inShell(folder, `echo x > "$(printf 'a\\374.txt')"`);
    const error = await assertRejects(() => findSourceFiles(folder), DataError);
    assertStringIncludes(error.message, `${folder}/a\\ufffd.txt has a name that is no UTF-8`);
  }));

Deno.test("findSourceFiles() names the file that can't be read", () =>
  inFolder(async (folder) => {
    Deno.symlinkSync("loop.txt", `${folder}/loop.txt`);
    const error = await assertRejects(() => findSourceFiles(folder), DataError);
    assertStringIncludes(error.message, `must be readable: ${folder}/loop.txt: Too many levels`);
  }));

const REFUSED: [string, string][] = [
  ["missing", "no such file or folder"],
  ["empty.txt", "it is empty"],
  ["image.png", "must end in .txt"],
  ["nothing", "holds no file"],
  ["pictures", "none of its 1 files ends in"],
  ["hollow", "all of its 2 files are empty"],
];
for (const [name, message] of REFUSED) {
  Deno.test(`findSourceFiles() throws a DataError when the input is like "${name}"`, () =>
    inFolder(async (folder) => {
      for (const dir of ["nothing", "pictures", "hollow"]) Deno.mkdirSync(`${folder}/${dir}`);
      for (const file of ["empty.txt", "hollow/a.txt", "hollow/b.md"]) {
        Deno.writeTextFileSync(`${folder}/${file}`, "");
      }
      for (const file of ["image.png", "pictures/a.png"]) {
        Deno.writeTextFileSync(`${folder}/${file}`, "x");
      }
      await assertRejects(() => findSourceFiles(`${folder}/${name}`), DataError, message);
    }));
}

Deno.test("workUnits() gives a text as one document when it is cut into many pieces", () =>
  inFolder(async (folder) => {
    const text = story(200_000);
    Deno.writeTextFileSync(`${folder}/a.txt`, text);
    for (const unitBytes of [64, 1000, 4096, 1 << 20]) {
      const { texts, problems } = await readDocuments(folder, { unitBytes });
      assert(texts.length === 1 && texts[0] === text, `unitBytes ${unitBytes}`);
      assertEquals(problems, []);
    }
  }));

Deno.test("workUnits() never cuts inside a character when a text has neither newline nor space", () =>
  inFolder(async (folder) => {
    const text = "世😀é".repeat(5000);
    Deno.writeTextFileSync(`${folder}/a.txt`, text);
    for (const unitBytes of [64, 65, 66, 67]) {
      const { texts, replaced } = await readDocuments(folder, { unitBytes });
      assert(texts[0] === text && replaced === 0, `unitBytes ${unitBytes}`);
    }
  }));

Deno.test("workUnits() keeps one document a file, line and row", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/a.txt`, "one\n");
    Deno.writeTextFileSync(`${folder}/b.md`, "# two");
    Deno.writeTextFileSync(
      `${folder}/c.jsonl`,
      jsonLines([{ text: "three" }, { text: "four\nlines", id: 4 }]),
    );
    const data = ["five", "sïx"];
    Deno.writeFileSync(
      `${folder}/d.parquet`,
      new Uint8Array(parquetWriteBuffer({ columnData: [{ name: "text", data, type: "STRING" }] })),
    );
    const { texts } = await readDocuments(folder);
    assertEquals(texts, ["one\n", "# two", "three", "four\nlines", "five", "sïx"]);
  }));

Deno.test("workUnits() reads parquet files of several row groups and names a null's row", () =>
  inFolder(async (folder) => {
    const data = Array.from({ length: 1000 }, (_, i) => i === 577 ? null : `${story(50, i)} ${i}`);
    const buffer = parquetWriteBuffer({
      columnData: [
        { name: "id", data: data.map((_, i) => i), type: "INT32" },
        { name: "body", data, type: "STRING", nullable: true },
      ],
      rowGroupSize: 100,
    });
    Deno.writeFileSync(`${folder}/a.parquet`, new Uint8Array(buffer));
    const { texts, problems } = await readDocuments(folder, { textField: "body" });
    assertEquals(texts, data.filter((text) => text !== null));
    assertEquals(problems, ['row 578: has no text: column "body" holds null']);
    const wrong = await readDocuments(folder, { textField: "text" });
    assertStringIncludes(wrong.problems[0]!, 'no column "text", only id, body: set --text-field');
  }));

Deno.test("workUnits() reads .gz and .zst, also of several members or frames", () =>
  inFolder(async (folder) => {
    const halves = [story(300_000, 1), story(300_000, 2)].map((text) => encoder.encode(text));
    const both = new TextDecoder().decode(halves[0]) + new TextDecoder().decode(halves[1]);
    const parts: [string, (bytes: Uint8Array) => Uint8Array][] = [["gz", gzipSync], [
      "zst",
      zstdCompressSync,
    ]];
    for (const [ending, compress] of parts) {
      const path = `${folder}/a.txt.${ending}`;
      Deno.writeFileSync(path, Uint8Array.from(halves.flatMap((half) => [...compress(half)])));
      const { texts, problems } = await readDocuments(path);
      assertEquals([texts.length, texts[0] === both, problems], [1, true, []], ending);
    }
  }));

for (const ending of ["gz", "zst"]) {
  Deno.test(`workUnits() reports a .txt.${ending} that is cut short and keeps the other files`, () =>
    inFolder(async (folder) => {
      const random = randomNumbers(3);
      const noise = Array.from({ length: 40_000 }, () => String.fromCharCode(33 + random() % 90))
        .join("");
      const bytes = (ending === "gz" ? gzipSync : zstdCompressSync)(encoder.encode(noise));
      Deno.writeFileSync(`${folder}/a.txt.${ending}`, bytes.subarray(0, bytes.length - 5000));
      Deno.writeTextFileSync(`${folder}/b.txt`, "fine");
      const { texts, problems } = await readDocuments(folder, { unitBytes: 4096 });
      assertEquals(texts, ["fine"]);
      assertEquals(problems.length, 1);
      assertStringIncludes(problems[0]!, "cannot be read on");
    }));

  Deno.test(`workUnits() keeps the whole lines of a .jsonl.${ending} that is cut short`, () =>
    inFolder(async (folder) => {
      const random = randomNumbers(4);
      const records = Array.from({ length: 40_000 }, () => ({ text: `${random()} ${random()}` }));
      const bytes = (ending === "gz" ? gzipSync : zstdCompressSync)(
        encoder.encode(jsonLines(records)),
      );
      Deno.writeFileSync(
        `${folder}/a.jsonl.${ending}`,
        bytes.subarray(0, Math.floor(bytes.length * 0.7)),
      );
      const { texts, problems } = await readDocuments(folder, { unitBytes: 4096 });
      assert(texts.length > 0 && texts.length < 40_000);
      assertEquals(texts, records.slice(0, texts.length).map(({ text }) => text));
      assertEquals(problems.length, 1);
      assertStringIncludes(problems[0]!, `line ${texts.length + 1}`);
    }));

  Deno.test(`workUnits() reports what is no .${ending} at all`, () =>
    inFolder(async (folder) => {
      Deno.writeTextFileSync(`${folder}/a.txt.${ending}`, "this is no compressed data");
      const { texts, problems } = await readDocuments(folder);
      assertEquals([texts, problems.length], [[], 1]);
    }));
}

for (const [ending, compress] of [["gz", gzipSync], ["zst", zstdCompressSync]] as const) {
  Deno.test(`workUnits() reads or reports a .txt.${ending}, and reads on behind it, whichever bit is flipped`, () =>
    inFolder(async (folder) => {
      const bytes = new Uint8Array(
        compress(encoder.encode("some text and some more text, ".repeat(9))),
      );
      Deno.writeTextFileSync(`${folder}/b.txt`, "fine");
      for (let bit = 0; bit < 8 * bytes.length; bit++) {
        Deno.writeFileSync(`${folder}/a.txt.${ending}`, flipped(bytes, bit));
        const { texts, problems, empty } = await readDocuments(folder);
        assertEquals(
          [texts.length + problems.length + empty, texts.at(-1)],
          [2, "fine"],
          `bit ${bit}`,
        );
      }
    }));

  Deno.test(`workUnits() reads or reports a .txt.${ending} of many blocks whichever bit is flipped`, () =>
    inFolder(async (folder) => {
      // Text that is all alike: of little compressed data, and much of it out of each block.
      const bytes = new Uint8Array(compress(encoder.encode(story(1000).repeat(600))));
      const random = randomNumbers(5);
      let reported = 0;
      for (let trial = 0; trial < 200; trial++) {
        const bit = random() % (8 * bytes.length);
        Deno.writeFileSync(`${folder}/a.txt.${ending}`, flipped(bytes, bit));
        const { texts, problems, empty } = await readDocuments(folder);
        assertEquals(texts.length + problems.length + empty, 1, `bit ${bit}`);
        reported += problems.length;
      }
      assert(reported > 0);
    }));
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const changed = bytes.slice();
  changed[bit >> 3]! ^= 1 << (bit & 7);
  return changed;
}

/** A zstd frame of the text "window" as it is (RFC 8878, 3.1.1), with the header's bytes behind its magic number. */
function zstdFrame(...header: number[]): Uint8Array {
  const text = encoder.encode("window");
  return Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, ...header, 1 | (text.length << 3), 0, 0, ...text);
}

// A descriptor without flags, then the window's: logarithm less 10 in five bits, eighths more in three.
const WINDOWS: [string, number[]][] = [
  ["2^10", [0, 0]],
  ["2^28", [0, 18 << 3]],
  ["2^30 times 15/8", [0, 20 << 3 | 7]],
  ["2^31", [0, 21 << 3]],
];
for (const [window, header] of WINDOWS) {
  Deno.test(`workUnits() reads a .zst whose window has ${window} bytes`, () =>
    inFolder(async (folder) => {
      Deno.writeFileSync(`${folder}/a.txt.zst`, zstdFrame(...header));
      const { texts, problems } = await readDocuments(folder);
      assertEquals([texts, problems], [["window"], []]);
    }));
}

const TOO_LARGE: [string, number[], number][] = [
  ["window has 2^31 times 9/8 bytes", [0, 21 << 3 | 1], 2 ** 31 * 9 / 8],
  ["window has the most that can be written", [0, 255], 2 ** 41 * 15 / 8],
  // Descriptor 0xe0: one segment, its size in eight bytes.
  ["one segment has 2^40 bytes", [0xe0, 0, 0, 0, 0, 0, 1, 0, 0], 2 ** 40],
];
for (const [what, header, bytes] of TOO_LARGE) {
  Deno.test(`workUnits() says what is too large when the .zst's ${what}`, () =>
    inFolder(async (folder) => {
      Deno.writeFileSync(`${folder}/a.txt.zst`, zstdFrame(...header));
      Deno.writeTextFileSync(`${folder}/b.txt`, "fine");
      const { texts, problems } = await readDocuments(folder);
      assertEquals(texts, ["fine"]);
      const expected = `its zstd window has ${bytes} bytes, at most 2^31 can be read`;
      assertEquals(problems.length, 1);
      assertStringIncludes(problems[0]!, expected);
    }));
}

Deno.test("ZstdFrameSplitter finds the same frames however the data is cut into chunks", () => {
  const skippable = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 9, 9, 9, 9, 9);
  const texts = ["", "a", "b".repeat(300_000), story(200_000)].map((text) => encoder.encode(text));
  const frames = texts.map((text) => new Uint8Array(zstdCompressSync(text)));
  const data = Uint8Array.from(
    [skippable, frames[0]!, frames[1]!, skippable, frames[2]!, frames[3]!, skippable].flatMap((
      b,
    ) => [...b]),
  );
  for (const step of [1, 2, 3, 5, 7, 64, 4099, data.length]) {
    const splitter = new ZstdFrameSplitter();
    const found: number[][] = [[]];
    for (let at = 0; at < data.length; at += step) {
      for (const { bytes, ends } of splitter.split(data.subarray(at, at + step))) {
        for (const byte of bytes) found.at(-1)!.push(byte);
        if (ends) found.push([]);
      }
    }
    assert(splitter.isBetweenFrames);
    // The compressor may end large data with an empty frame of its own: only the first three are surely one each.
    for (const [i, frame] of frames.slice(0, 3).entries()) {
      assertEquals(found[i], Array.from(frame), `step ${step}, frame ${i}`);
    }
    const expected = frames.flatMap((frame) => [...frame]);
    const all = found.flat();
    assert(
      all.length === expected.length && all.every((byte, i) => byte === expected[i]),
      `step ${step}`,
    );
  }
});

Deno.test("extractText() reports bad JSON lines by their number and keeps the good ones", () =>
  inFolder(async (folder) => {
    const lines = [
      '{"text": "good 1"}',
      "",
      "{broken",
      "[1]",
      '{"body": "x"}',
      '{"text": 7}',
      '{"text": null}',
      "  ",
      '{"text": ""}',
      '\u{feff}{"text": "mark"}',
      '{"text": "good 2"}',
    ];
    Deno.writeTextFileSync(`${folder}/a.jsonl`, lines.join("\n"));
    for (const unitBytes of [1, 20, 1 << 20]) {
      const { texts, problems, empty } = await readDocuments(folder, { unitBytes });
      assertEquals([texts, empty], [["good 1", "mark", "good 2"], 1]);
      assertEquals(problems.map((problem) => problem.split(":")[0]), [
        "line 3",
        "line 4",
        "line 5",
        "line 6",
        "line 7",
      ]);
      assertStringIncludes(problems[0]!, "is no JSON");
      assertStringIncludes(problems[1]!, "is no JSON object but an array");
      assertStringIncludes(problems[2]!, 'has no field "text", only "body"');
      assertStringIncludes(problems[3]!, "but a number");
      assertStringIncludes(problems[4]!, "but null");
    }
  }));

Deno.test("workUnits() reports a JSON line that is too long and goes on behind it", () =>
  inFolder(async (folder) => {
    const records = [{ text: "a" }, { text: "b".repeat(600_000) }, { text: "c" }];
    Deno.writeTextFileSync(`${folder}/a.jsonl`, jsonLines(records));
    const { texts, problems } = await readDocuments(folder, {
      unitBytes: 1000,
      maxLineBytes: 300_000,
    });
    assertEquals([texts, problems], [["a", "c"], [
      "line 2: is longer than the 300000 bytes that a line may have",
    ]]);
  }));

Deno.test("workUnits() takes a JSON line of just the most bytes and none of one more", () =>
  inFolder(async (folder) => {
    const line = (bytes: number, mark: string) => `{"text":"${mark.repeat(bytes - 11)}"}`;
    // The first one is all of the file, the second begins where lines are held that a unit will take.
    for (const before of [[], ["x", "y"]]) {
      const lines = [300_000, 300_001, 300_000].map((bytes, i) => line(bytes, "abc"[i]!));
      const start = before.map((mark) => line(12, mark));
      Deno.writeTextFileSync(`${folder}/a.jsonl`, [...start, ...lines, line(12, "z")].join("\n"));
      const { texts, problems } = await readDocuments(folder, { maxLineBytes: 300_000 });
      const marks = texts.map((text) => text[0]).join("");
      assertEquals(marks, `${before.join("")}acz`);
      assertEquals(problems.map((text) => text.split(":")[0]), [`line ${before.length + 2}`]);
    }
  }));

Deno.test("workUnits() looks at each byte of a long line a few times at most", () =>
  inFolder(async (folder) => {
    const bytes = 8 << 20;
    Deno.writeTextFileSync(`${folder}/a.jsonl`, `{"text":"${"a".repeat(bytes)}"}\n`);
    const prototype = Object.getPrototypeOf(Uint8Array.prototype);
    const { indexOf, lastIndexOf } = prototype;
    let searched = 0;
    const counting = (search: typeof indexOf) =>
      function (this: Uint8Array, ...args: unknown[]) {
        searched += this.length;
        return search.apply(this, args);
      };
    try {
      Object.assign(prototype, {
        indexOf: counting(indexOf),
        lastIndexOf: counting(lastIndexOf),
      });
      const { texts } = await readDocuments(folder);
      assertEquals(texts.map(({ length }) => length), [bytes]);
    } finally {
      Object.assign(prototype, { indexOf, lastIndexOf });
    }
    assert(searched < 10 * bytes, `${searched} bytes were searched`);
  }));

Deno.test("extractText() cuts a long JSON line and a long row where it cuts a text file", () =>
  inFolder(async (folder) => {
    const text = story(3 << 20);
    Deno.writeTextFileSync(`${folder}/a.txt`, text);
    Deno.writeTextFileSync(`${folder}/b.jsonl`, jsonLines([{ text }]));
    const columnData = [{ name: "text", data: [text], type: "STRING" as const }];
    Deno.writeFileSync(`${folder}/c.parquet`, new Uint8Array(parquetWriteBuffer({ columnData })));
    const { files } = await findSourceFiles(folder);
    const options = {
      textField: "text",
      invalidUtf8: "replace",
      cut: { newline: "ends", extraIds: 0, exact: true },
    } as const;
    const lengths: number[][] = [[], [], []];
    for await (const unit of workUnits(files, options)) {
      const file = unit.lines?.file ?? unit.pieces[0]!.file;
      for (const part of extractText(unit, options).parts) lengths[file]!.push(part.bytes.length);
    }
    assert(lengths[0]!.length > 3 && Math.max(...lengths[0]!) <= 1 << 20);
    assertEquals(lengths, [lengths[0]!, lengths[0]!, lengths[0]!]);
  }));

const INVALID = Uint8Array.of(...encoder.encode("good "), 0xff, 0xc3, ...encoder.encode(" end"));

Deno.test('extractText() puts U+FFFD for invalid UTF-8 and counts it when told to "replace"', () =>
  inFolder(async (folder) => {
    Deno.writeFileSync(`${folder}/a.txt`, INVALID);
    const { texts, replaced } = await readDocuments(folder, { invalidUtf8: "replace" });
    assertEquals([texts, replaced], [["good \ufffd\ufffd end"], 2]);
  }));

Deno.test('extractText() leaves out documents and lines of invalid UTF-8 when told to "skip"', () =>
  inFolder(async (folder) => {
    Deno.writeFileSync(`${folder}/a.txt`, INVALID);
    const line = (
      bytes: Uint8Array,
    ) => [...encoder.encode('{"text": "'), ...bytes, ...encoder.encode('"}\n')];
    const lines = Uint8Array.from([
      ...line(encoder.encode("1")),
      ...line(INVALID),
      ...line(encoder.encode("3")),
    ]);
    Deno.writeFileSync(`${folder}/b.jsonl`, lines);
    const { texts, problems } = await readDocuments(folder, { invalidUtf8: "skip" });
    assertEquals(texts, ["1", "3"]);
    // Bad lines are listed before a unit's parts; files come one after the other.
    assertEquals(problems, [
      ": holds invalid UTF-8 (byte 0xff)",
      "line 2: holds invalid UTF-8 (byte 0xff)",
    ]);
  }));

Deno.test("extractText() treats half a surrogate pair in JSON like invalid UTF-8", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(
      `${folder}/a.jsonl`,
      '{"text": "x\\ud800y"}\n{"text": "\\ud83d\\ude00"}\n',
    );
    const replaced = await readDocuments(folder, { invalidUtf8: "replace" });
    assertEquals([replaced.texts, replaced.replaced], [["x\ufffdy", "😀"], 1]);
    const skipped = await readDocuments(folder, { invalidUtf8: "skip" });
    assertEquals([skipped.texts, skipped.problems], [["😀"], [
      "line 1: holds half of a surrogate pair",
    ]]);
  }));

Deno.test("extractText() reports a binary file by its NUL bytes", () =>
  inFolder(async (folder) => {
    Deno.writeFileSync(`${folder}/a.txt`, Uint8Array.of(127, 69, 76, 70, 0, 0, 1));
    const { texts, problems } = await readDocuments(folder);
    assertEquals(texts, []);
    assertStringIncludes(problems[0]!, "NUL bytes");
  }));

Deno.test("extractText() leaves out documents with NUL and counts them whatever their source", () =>
  inFolder(async (folder) => {
    const documents = ["one", "t\0wo", "three"];
    for (const [i, text] of documents.entries()) {
      Deno.writeTextFileSync(`${folder}/a${i}.txt`, text);
    }
    Deno.writeTextFileSync(`${folder}/b.jsonl`, jsonLines(documents.map((text) => ({ text }))));
    const columnData = [{ name: "text", data: documents, type: "STRING" as const }];
    Deno.writeFileSync(`${folder}/c.parquet`, new Uint8Array(parquetWriteBuffer({ columnData })));
    const { texts, problems } = await readDocuments(folder);
    assertEquals(texts, ["one", "three", "one", "three", "one", "three"]);
    const message = "holds NUL bytes (U+0000): binary data or UTF-16 do, convert it to UTF-8 text";
    assertEquals(
      problems.toSorted(),
      ["", "line 2", "row 2"].map((place) => `${place}: ${message}`),
    );
  }));

Deno.test("extractText() keeps a JSON line with NUL in a field that is not the text", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/a.jsonl`, jsonLines([{ text: "fine", id: "x\0y" }]));
    assertEquals((await readDocuments(folder)).texts, ["fine"]);
  }));

Deno.test("extractText() reports files in UTF-16 as such", () =>
  inFolder(async (folder) => {
    // U+FEFF U+4E2D: no byte of it is NUL.
    Deno.writeFileSync(`${folder}/a.txt`, Uint8Array.of(0xff, 0xfe, 0x2d, 0x4e));
    const line = '\ufeff{"text": "a"}\n';
    const units = Uint16Array.from(line, (letter) => letter.charCodeAt(0));
    Deno.writeFileSync(`${folder}/b.jsonl`, new Uint8Array(units.buffer));
    const { texts, problems } = await readDocuments(folder);
    assertEquals(texts, []);
    assertStringIncludes(problems[0]!, "is UTF-16: save it as UTF-8");
    assertStringIncludes(problems[1]!, "binary data or UTF-16 do, convert it to UTF-8");
  }));

Deno.test("extractText() drops a byte order mark at the start of a file alone", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/a.txt`, "\ufeffone \ufefftwo");
    Deno.writeTextFileSync(`${folder}/b.jsonl`, '\ufeff{"text": "three"}\n');
    assertEquals((await readDocuments(folder)).texts, ["one \ufefftwo", "three"]);
  }));

Deno.test("workUnits() gives units of bounded size whatever the size of the file", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.txt`;
    {
      using file = Deno.openSync(path, { create: true, write: true });
      const chunk = encoder.encode(story(1 << 20));
      for (let i = 0; i < 24; i++) file.writeSync(chunk);
    }
    const { files } = await findSourceFiles(path);
    const cut = { newline: "ends", extraIds: 0, exact: true } as const;
    let total = 0;
    for await (const { bytes } of workUnits(files, { cut, textField: "text" })) {
      total += bytes.length;
      assert(bytes.length <= 1 << 20);
    }
    assertEquals(total, files[0]!.bytes);
  }));
