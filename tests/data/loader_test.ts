import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { DataError } from "../../lib/data/errors.ts";
import {
  countEvaluationWindows,
  EvaluationReader,
  evaluationWindows,
} from "../../lib/data/evaluation.ts";
import { BatchLoader } from "../../lib/data/loader.ts";
import { TokenDataset } from "../../lib/data/shards.ts";
import { encodeHeader } from "../../lib/data/token_format.ts";
import { FileMapping } from "../../lib/ffi/mapping.ts";
import { NativeError } from "../../lib/ffi/errors.ts";
import { emptyBatch, inFolder, sequence, testLibrary, writeTokens } from "./support.ts";

function open(paths: string | string[], vocabSize = 50000): TokenDataset {
  return TokenDataset.open(paths, { library: testLibrary(), vocabSize });
}

Deno.test("BatchLoader.next() gives inputs and their targets in file order when shuffle is off", () =>
  inFolder((folder) => {
    using dataset = open(writeTokens(`${folder}/a.tokens`, { ids: sequence(13, 100) }));
    const loader = new BatchLoader(dataset, { batchSize: 2, seqLen: 3, shuffle: false });
    const batch = emptyBatch(2, 3);
    loader.next(batch);
    loader.next(batch);
    assertEquals(Array.from(batch.ids), [106, 107, 108, 109, 110, 111]);
    assertEquals(Array.from(batch.targets), [107, 108, 109, 110, 111, 112]);
  }));

Deno.test("BatchLoader takes every window of every shard once an epoch, whatever their formats", () =>
  inFolder((folder) => {
    const a = writeTokens(`${folder}/a.tokens`, { ids: sequence(4 * 5 + 1) });
    const b = writeTokens(`${folder}/b.tokens`, { ids: sequence(7 * 5 + 3, 1000), tokenWidth: 4 });
    Deno.writeFileSync(
      `${folder}/c.bin`,
      new Uint8Array(Uint16Array.from(sequence(11, 2000)).buffer),
    );
    using dataset = open([a, b, `${folder}/c.bin`]);
    const loader = new BatchLoader(dataset, { batchSize: 1, seqLen: 5, seed: 3 });
    const starts = Array.from({ length: loader.windowCount }, () => {
      const batch = emptyBatch(1, 5);
      loader.next(batch);
      const first = batch.ids[0]!;
      assertEquals(Array.from(batch.ids), sequence(5, first));
      assertEquals(Array.from(batch.targets), sequence(5, first + 1));
      return first;
    });
    const expected = [
      ...[0, 1, 2, 3].map((w) => w * 5),
      ...sequence(7).map((w) => 1000 + w * 5),
      2000,
      2005,
    ];
    assertEquals(starts.sort((x, y) => x - y), expected);
  }));

Deno.test("BatchLoader.next() widens exactly at every length around the copy's blocks and vectors", () =>
  inFolder((folder) => {
    for (const tokenWidth of [2, 4] as const) {
      const ids = sequence(5000).map((i) => (i * 40503) % 50000);
      using dataset = open(writeTokens(`${folder}/${tokenWidth}.tokens`, { ids, tokenWidth }));
      for (const seqLen of [1, 2, 15, 16, 17, 31, 33, 2047, 2048, 2049, 4999]) {
        const loader = new BatchLoader(dataset, { batchSize: 1, seqLen, shuffle: false });
        const batch = emptyBatch(1, seqLen + 1);
        loader.next(batch);
        assertEquals(Array.from(batch.ids), [...ids.slice(0, seqLen), -7]);
        assertEquals(Array.from(batch.targets), [...ids.slice(1, seqLen + 1), -7]);
      }
    }
  }));

Deno.test("BatchLoader.seek() goes on bit for bit where another loader stopped", () =>
  inFolder((folder) => {
    const path = writeTokens(`${folder}/a.tokens`, { ids: sequence(1000) });
    using dataset = open(path);
    const options = { batchSize: 3, seqLen: 10, seed: 11 };
    const straight = new BatchLoader(dataset, options);
    const batches = Array.from({ length: 80 }, () => {
      const batch = emptyBatch(3, 10);
      straight.next(batch);
      return Array.from(batch.ids);
    });
    const first = new BatchLoader(dataset, options);
    for (let step = 0; step < 50; step++) first.nextWindows();
    const second = new BatchLoader(dataset, options);
    second.seek(JSON.parse(JSON.stringify(first.state)));
    const batch = emptyBatch(3, 10);
    for (let step = 50; step < 80; step++) {
      second.next(batch);
      assertEquals(Array.from(batch.ids), batches[step]);
    }
  }));

for (const tokenWidth of [2, 4] as const) {
  for (const place of [0, 7, 8, 20]) {
    Deno.test(`BatchLoader.next() names file and offset when token ${place} of ${tokenWidth} bytes is out of range`, () =>
      inFolder((folder) => {
        const ids = sequence(25);
        ids[place] = 60000;
        const path = writeTokens(`${folder}/a.tokens`, { ids, tokenWidth, vocabSize: 65536 });
        const dropped = Deno.readFileSync(path);
        dropped.set(encodeHeader({
          tokenWidth,
          vocabSize: 30,
          tokenCount: 25,
          documentCount: 1,
          endOfDocumentId: null,
          startIds: [],
          tokenizerHash: null,
        }));
        Deno.writeFileSync(path, dropped);
        using dataset = open(path, 30);
        const loader = new BatchLoader(dataset, { batchSize: 3, seqLen: 8, shuffle: false });
        const before = loader.state;
        const error = assertThrows(() => loader.next(emptyBatch(3, 8)), DataError);
        assertStringIncludes(
          error.message,
          `${path} as token ${place} (byte ${4096 + place * tokenWidth})`,
        );
        assertStringIncludes(error.message, "current value is 60000");
        assertEquals(loader.state, before);
      }));
  }
}

Deno.test("BatchLoader.next() catches an id of 32 bits that would be negative as int32", () =>
  inFolder((folder) => {
    const path = writeTokens(`${folder}/a.tokens`, { ids: sequence(20), tokenWidth: 4 });
    const bytes = Deno.readFileSync(path);
    new DataView(bytes.buffer).setUint32(4096 + 4 * 5, 0xffffffff, true);
    Deno.writeFileSync(path, bytes);
    using dataset = open(path);
    const loader = new BatchLoader(dataset, { batchSize: 1, seqLen: 10, shuffle: false });
    assertThrows(() => loader.next(emptyBatch(1, 10)), DataError, "current value is 4294967295");
  }));

Deno.test("BatchLoader throws when no shard holds a whole window", () =>
  inFolder((folder) => {
    using dataset = open(writeTokens(`${folder}/a.tokens`, { ids: sequence(10) }));
    assertThrows(
      () => new BatchLoader(dataset, { batchSize: 1, seqLen: 10 }),
      DataError,
      "a window needs 11",
    );
  }));

Deno.test("BatchLoader.next() throws instead of reading when its data set is closed", () =>
  inFolder((folder) => {
    const dataset = open(writeTokens(`${folder}/a.tokens`, { ids: sequence(100) }));
    const loader = new BatchLoader(dataset, { batchSize: 1, seqLen: 10 });
    dataset[Symbol.dispose]();
    assertThrows(() => loader.next(emptyBatch(1, 10)), TypeError, "closed");
  }));

Deno.test("BatchLoader.next() throws when the arrays are too short for the batch", () =>
  inFolder((folder) => {
    using dataset = open(writeTokens(`${folder}/a.tokens`, { ids: sequence(100) }));
    const loader = new BatchLoader(dataset, { batchSize: 2, seqLen: 10 });
    assertThrows(() => loader.next(emptyBatch(1, 10)), RangeError, "need 20");
  }));

Deno.test("BatchLoader reads both ends of a shard beyond 4 GiB", () =>
  inFolder((folder) => {
    const tokenCount = 2 ** 31 + 2 ** 20 + 1; // 4 GiB + 2 MiB + 2 bytes of two-byte tokens
    const path = `${folder}/large.tokens`;
    {
      using file = Deno.openSync(path, { create: true, write: true });
      file.writeSync(encodeHeader({
        tokenWidth: 2,
        vocabSize: 50000,
        tokenCount,
        documentCount: 1,
        endOfDocumentId: null,
        startIds: [],
        tokenizerHash: null,
      }));
      file.writeSync(new Uint8Array(Uint16Array.of(11, 12, 13).buffer));
      file.truncateSync(4096 + 2 * tokenCount);
      file.seekSync(-6, Deno.SeekMode.End);
      file.writeSync(new Uint8Array(Uint16Array.of(21, 22, 23).buffer));
    }
    using dataset = open(path);
    const loader = new BatchLoader(dataset, { batchSize: 1, seqLen: 2 ** 20, shuffle: false });
    const batch = emptyBatch(1, 2 ** 20);
    loader.next(batch);
    assertEquals(Array.from(batch.ids.subarray(0, 4)), [11, 12, 13, 0]);
    loader.skip(loader.windowCount - 2);
    loader.next(batch);
    assertEquals(Array.from(batch.targets.subarray(-4)), [0, 21, 22, 23]);
  }));

Deno.test("TokenDataset.open() takes a folder's training files in order and leaves out those held out", () =>
  inFolder((folder) => {
    for (
      const name of [
        "b.tokens",
        "a.tokens",
        "a.val.tokens",
        "x_val_0.bin",
        "val.bin",
        "train.bin",
        "note.txt",
      ]
    ) {
      writeTokens(`${folder}/${name}`, { ids: sequence(10) });
    }
    using dataset = open(folder);
    assertEquals(dataset.shards.map(({ path }) => path.slice(folder.length + 1)), [
      "a.tokens",
      "b.tokens",
      "train.bin",
    ]);
  }));

Deno.test("TokenDataset.open() takes the files that a pattern matches", () =>
  inFolder((folder) => {
    for (const name of ["a_0.tokens", "a_1.tokens", "ab.tokens", "b_0.tokens"]) {
      writeTokens(`${folder}/${name}`, { ids: sequence(10) });
    }
    using dataset = open(`${folder}/a_*.tokens`);
    assertEquals(dataset.shards.map(({ path }) => path.slice(folder.length + 1)), [
      "a_0.tokens",
      "a_1.tokens",
    ]);
    assertThrows(() => open(`${folder}/z*.tokens`), DataError, "no token file");
  }));

Deno.test("TokenDataset.open() leaves files held out out of a pattern, unless that says val", () =>
  inFolder((folder) => {
    for (const name of ["a.tokens", "a.val.tokens", "b_val_0.bin", "b_train_0.bin", "value.bin"]) {
      writeTokens(`${folder}/${name}`, { ids: sequence(10) });
    }
    const found = (pattern: string) => {
      using dataset = open(`${folder}/${pattern}`);
      return dataset.shards.map(({ path }) => path.slice(folder.length + 1));
    };
    assertEquals(found("*"), ["a.tokens", "b_train_0.bin", "value.bin"]);
    assertEquals(found("*.tokens"), ["a.tokens"]);
    assertEquals(found("*.val.tokens"), ["a.val.tokens"]);
    assertEquals(found("b_val_*.bin"), ["b_val_0.bin"]);
    assertEquals(found("*val*"), ["a.val.tokens", "b_val_0.bin", "value.bin"]);
    const error = assertThrows(() => open(`${folder}/a.v*`), DataError);
    assertStringIncludes(error.message, "matches it (1 held out for validation: name them)");
  }));

Deno.test("TokenDataset.open() throws when a shard has a larger vocabulary than the model", () =>
  inFolder((folder) => {
    const path = writeTokens(`${folder}/a.tokens`, { ids: sequence(10), vocabSize: 32000 });
    assertThrows(
      () => open(path, 31999),
      DataError,
      "its vocabulary has 32000 ids: the model's has 31999",
    );
  }));

Deno.test("TokenDataset.open() names the token file and the tokenizer when it was made with another one", () =>
  inFolder((folder) => {
    const [one, two] = ["1".repeat(64), "2".repeat(64)];
    const path = writeTokens(`${folder}/a.tokens`, { ids: sequence(10), tokenizerHash: one });
    const options = { library: testLibrary(), vocabSize: 50000 };
    assertThrows(
      () => {
        TokenDataset.open(path, {
          ...options,
          tokenizerHash: two,
          tokenizerPath: "t/tokenizer.json",
        });
      },
      DataError,
      `Cannot use ${path} as it was made with another tokenizer than t/tokenizer.json: SHA-256 ${one}, not ${two}`,
    );
    TokenDataset.open(path, { ...options, tokenizerHash: one })[Symbol.dispose]();
  }));

Deno.test("TokenDataset.open() throws when there is no file, or a folder holds none", () =>
  inFolder((folder) => {
    assertThrows(() => open(`${folder}/none.tokens`), DataError, "no such file or folder");
    assertThrows(() => open(folder), DataError, "holds no token file");
    assertThrows(() => open([]), DataError, "at least one token file");
  }));

Deno.test("TokenDataset.open() names the config's key when that gave the path", () =>
  inFolder((folder) => {
    const options = { library: testLibrary(), vocabSize: 10, key: "data.validation" };
    const large = writeTokens(`${folder}/large.tokens`, { ids: [1], vocabSize: 11 });
    Deno.mkdirSync(`${folder}/empty`);
    for (const path of ["none.tokens", "empty", "*.bin", "large.tokens"]) {
      const message = `${folder}/${path} (data.validation) as `;
      assertThrows(() => TokenDataset.open(`${folder}/${path}`, options), DataError, message);
    }
    assertThrows(() => TokenDataset.open(large, options), DataError, "Set model.vocab_size to 11");
  }));

Deno.test("FileMapping.open() throws a NativeError with the reason when a file can't be mapped", () =>
  inFolder((folder) => {
    Deno.writeTextFileSync(`${folder}/empty`, "");
    const library = testLibrary();
    const reasons = { missing: "no such file", empty: "is empty", "": "is no regular file" };
    for (const [name, reason] of Object.entries(reasons)) {
      assertThrows(() => FileMapping.open(`${folder}/${name}`, { library }), NativeError, reason);
    }
  }));

Deno.test("FileMapping can be disposed of twice and says that it is closed", () =>
  inFolder((folder) => {
    Deno.writeTextFileSync(`${folder}/é file`, "abc");
    const mapping = FileMapping.open(`${folder}/é file`, {
      library: testLibrary(),
      advice: "sequential",
    });
    assertEquals([mapping.bytes, mapping.isOpen], [3, true]);
    mapping[Symbol.dispose]();
    mapping[Symbol.dispose]();
    assert(!mapping.isOpen);
    assertThrows(() => mapping.advise("random"), TypeError, "closed");
  }));

Deno.test("BatchLoader.next() names a file that was cut short while mapped, and goes on when it is whole", () =>
  inFolder((folder) => {
    // Two tokens on the first page, which the cut leaves.
    const sound = writeTokens(`${folder}/a.tokens`, { ids: sequence(30_000) });
    const bytes = Deno.readFileSync(sound);
    for (const kept of [4096, 0]) {
      using dataset = open(sound);
      const loader = new BatchLoader(dataset, { batchSize: 3, seqLen: 5000, shuffle: false });
      const batch = emptyBatch(3, 5000);
      Deno.truncateSync(sound, kept);
      const before = loader.state;
      const error = assertThrows(() => loader.next(batch), DataError, sound);
      assertStringIncludes(error.message, `it has ${kept} of the ${bytes.length} bytes`);
      assertEquals(loader.state, before);
      Deno.writeFileSync(sound, bytes);
      loader.next(batch);
      assertEquals(batch.targets.at(-1), 15_000);
      Deno.removeSync(sound);
      Deno.writeFileSync(sound, bytes); // Another file, as the first one stays mapped.
    }
  }));

Deno.test("evaluationWindows() predicts every token but a shard's first exactly once", () =>
  inFolder((folder) => {
    const lengths = [1, 2, 9, 10, 11, 12, 21, 100];
    const paths = lengths.map((length, i) =>
      writeTokens(`${folder}/${i}.tokens`, { ids: sequence(length) })
    );
    using dataset = open(paths);
    for (const stride of [1, 3, 5, 9, 10]) {
      const predicted = new Map(paths.map((path) => [path, [] as number[]]));
      let windows = 0;
      for (
        const { shard, offset, count, ignore } of evaluationWindows(dataset, { seqLen: 10, stride })
      ) {
        assert(count >= 1 && count <= 10 && ignore >= 0 && ignore < count);
        predicted.get(shard.path)!.push(...sequence(count - ignore, offset + ignore + 1));
        windows++;
      }
      for (const [i, path] of paths.entries()) {
        assertEquals(predicted.get(path), sequence(lengths[i]! - 1, 1));
      }
      const expected = { windows, targets: lengths.reduce((sum, length) => sum + length - 1, 0) };
      assertEquals(countEvaluationWindows(dataset, { seqLen: 10, stride }), expected);
    }
  }));

Deno.test("EvaluationReader.next() marks context, shard ends and empty rows as ignored", () =>
  inFolder((folder) => {
    using dataset = open(writeTokens(`${folder}/a.tokens`, { ids: sequence(8, 100) }));
    const reader = new EvaluationReader(dataset, { seqLen: 4, stride: 2, batchSize: 2 });
    const batch = emptyBatch(2, 4);
    assertEquals(reader.next(batch)?.targets, 6);
    assertEquals(Array.from(batch.ids), [100, 101, 102, 103, 102, 103, 104, 105]);
    assertEquals(Array.from(batch.targets), [101, 102, 103, 104, -1, -1, 105, 106]);
    assertEquals(reader.next(batch)?.targets, 1);
    assertEquals(Array.from(batch.ids), [104, 105, 106, 0, 0, 0, 0, 0]);
    assertEquals(Array.from(batch.targets), [-1, -1, 107, -1, -1, -1, -1, -1]);
    assertEquals(reader.next(batch), null);
  }));
