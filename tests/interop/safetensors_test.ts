import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "@std/path";
import { InteropError } from "../../lib/interop/errors.ts";
import {
  SafetensorsFile,
  type TensorSource,
  writeSafetensors,
} from "../../lib/interop/safetensors.ts";

function sourceOf(
  name: string,
  shape: number[],
  bytes: Uint8Array,
  dtype: TensorSource["dtype"] = "F32",
): TensorSource {
  return {
    name,
    shape,
    dtype,
    read: (into, offset) => into.set(bytes.subarray(offset, offset + into.length)),
  };
}

function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i += 65536) crypto.getRandomValues(bytes.subarray(i, i + 65536));
  return bytes;
}

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

async function write(
  path: string,
  tensors: TensorSource[],
  options: Parameters<typeof writeSafetensors>[2] = {},
) {
  using file = Deno.openSync(path, { write: true, create: true, truncate: true });
  return await writeSafetensors(file, tensors, options);
}

Deno.test("writeSafetensors() writes the exact bytes of the format", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a.safetensors");
    await write(path, [
      sourceOf("b", [2], new Uint8Array([1, 2]), "U8"),
      sourceOf("c", [], new Uint8Array([9, 8, 7, 6])),
      sourceOf("a", [1, 1], new Uint8Array([5, 4, 3, 2])),
    ]);
    const json = `{"__metadata__":{"format":"pt"},` +
      `"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},` +
      `"c":{"dtype":"F32","shape":[],"data_offsets":[4,8]},` +
      `"b":{"dtype":"U8","shape":[2],"data_offsets":[8,10]}}`;
    const padded = json.padEnd(Math.ceil(json.length / 8) * 8, " ");
    const wanted = new Uint8Array(8 + padded.length + 10);
    wanted[0] = padded.length;
    wanted.set(new TextEncoder().encode(padded), 8);
    wanted.set([5, 4, 3, 2, 9, 8, 7, 6, 1, 2], 8 + padded.length);
    assertEquals(Deno.readFileSync(path), wanted);
  });
});

Deno.test("writeSafetensors() starts the data at a multiple of 8 whatever the header", async () => {
  await withFolder(async (folder) => {
    for (let length = 1; length <= 9; length++) {
      const path = join(folder, `${length}`);
      await write(path, [sourceOf("n".repeat(length), [1], randomBytes(4))]);
      const prefix = new DataView(Deno.readFileSync(path).buffer).getBigUint64(0, true);
      assertEquals(prefix % 8n, 0n);
    }
  });
});

Deno.test("writeSafetensors() reports the digest and size of the file", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a");
    const data = randomBytes(4 * 5000);
    const written = await write(path, [sourceOf("a", [5000], data)], { chunkBytes: 1024 });
    const bytes = Deno.readFileSync(path);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    assertEquals(written, { bytes: bytes.length, sha256 });
  });
});

Deno.test("writeSafetensors() asks for bounded chunks in ascending order", async () => {
  await withFolder(async (folder) => {
    const calls: [number, number][] = [];
    const source: TensorSource = {
      name: "a",
      shape: [10],
      dtype: "F32",
      read: (into, offset) => void calls.push([offset, into.length]),
    };
    await write(join(folder, "a"), [source], { chunkBytes: 16 });
    assertEquals(calls, [[0, 16], [16, 16], [32, 8]]);
  });
});

Deno.test("writeSafetensors() goes on when the system takes a part of a chunk", async () => {
  await withFolder(async (folder) => {
    const tensor = sourceOf("a", [500], randomBytes(2000));
    const whole = await write(join(folder, "whole"), [tensor]);
    using file = Deno.openSync(join(folder, "parts"), { write: true, create: true });
    const sluggish = {
      write: (chunk: Uint8Array) => file.write(chunk.subarray(0, Math.ceil(chunk.length / 3))),
    } as Deno.FsFile;
    assertEquals(await writeSafetensors(sluggish, [tensor]), whole);
    assertEquals(
      Deno.readFileSync(join(folder, "parts")),
      Deno.readFileSync(join(folder, "whole")),
    );
  });
});

Deno.test("writeSafetensors() passes on what a source throws", async () => {
  await withFolder(async (folder) => {
    const source: TensorSource = {
      name: "a",
      shape: [4],
      dtype: "F32",
      read: () => {
        throw new TypeError("the device is gone");
      },
    };
    await assertRejects(
      () => write(join(folder, "a"), [source]),
      TypeError,
      "the device is gone",
    );
  });
});

Deno.test("writeSafetensors() throws before writing when two tensors have one name", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a");
    const tensor = sourceOf("a", [1], randomBytes(4));
    await assertRejects(() => write(path, [tensor, tensor]), RangeError, `"a"`);
    assertEquals(Deno.statSync(path).size, 0);
  });
});

Deno.test("SafetensorsFile reads back every byte when tensors are odd", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a");
    const shapes: [string, number[], TensorSource["dtype"]][] = [
      ["0", [3], "F32"], // an object would move this key to the front
      ["__proto__", [2, 2], "BF16"],
      ["empty", [0, 7], "F32"],
      ["scalar", [], "F64"],
      ['日本 "quoted" \\ \n', [5], "I8"],
      ["large", [257, 1031], "F32"],
    ];
    const data = shapes.map(([, shape, dtype]) => {
      const width = { F32: 4, BF16: 2, F64: 8, I8: 1 }[dtype as "F32"]!;
      return randomBytes(shape.reduce((a, b) => a * b, width));
    });
    const tensors = shapes.map(([n, s, dtype], i) => sourceOf(n, s, data[i]!, dtype));
    await write(path, tensors, { chunkBytes: 4096 });
    using file = SafetensorsFile.open(path);
    assertEquals(file.tensors.size, shapes.length);
    for (const [i, [name, shape, dtype]] of shapes.entries()) {
      const info = file.tensors.get(name)!;
      assertEquals([info.shape, info.dtype], [shape, dtype]);
      const bytes = new Uint8Array(data[i]!.length);
      for (let at = 0; at < bytes.length; at += 1000) {
        await file.readInto(name, bytes.subarray(at, at + 1000), at);
      }
      assertEquals(bytes, data[i]);
    }
  });
});

Deno.test("SafetensorsFile keeps the metadata", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a");
    await write(path, [], { metadata: { format: "pt", note: "é" } });
    using file = SafetensorsFile.open(path);
    assertEquals(file.metadata, { format: "pt", note: "é" });
  });
});

Deno.test("SafetensorsFile.readInto() throws when the range leaves the tensor", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a");
    await write(path, [sourceOf("a", [4], randomBytes(16)), sourceOf("b", [4], randomBytes(16))]);
    using file = SafetensorsFile.open(path);
    await assertRejects(() => file.readInto("a", new Uint8Array(8), 12), RangeError, "16 bytes");
    await assertRejects(() => file.readInto("a", new Uint8Array(1), -1), RangeError);
    await assertRejects(() => file.readInto("c", new Uint8Array(1), 0), RangeError, `"c"`);
  });
});

Deno.test("SafetensorsFile.readInto() throws when the file shrank after it was opened", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a");
    await write(path, [sourceOf("a", [1000], randomBytes(4000))]);
    using file = SafetensorsFile.open(path);
    Deno.truncateSync(path, 2000);
    await assertRejects(
      () => file.readInto("a", new Uint8Array(4000), 0),
      InteropError,
      "cut off",
    );
  });
});

Deno.test("SafetensorsFile.open() throws at every length a file can be cut to", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a");
    await write(path, [sourceOf("a", [3], randomBytes(12)), sourceOf("b", [1], randomBytes(4))]);
    const whole = Deno.readFileSync(path);
    for (let length = 0; length < whole.length; length++) {
      Deno.writeFileSync(path, whole.subarray(0, length));
      assertThrows(() => SafetensorsFile.open(path), InteropError, path);
    }
  });
});

Deno.test("SafetensorsFile.open() throws when bytes trail the data", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a");
    await write(path, [sourceOf("a", [3], randomBytes(12))]);
    Deno.writeFileSync(path, new Uint8Array([0]), { append: true });
    assertThrows(() => SafetensorsFile.open(path), InteropError, "trail");
  });
});

Deno.test("SafetensorsFile.open() throws when the path is a folder", async () => {
  await withFolder((folder) => {
    assertThrows(() => SafetensorsFile.open(folder), InteropError, "must be a file");
    return Promise.resolve();
  });
});
