import { assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { InteropError } from "../../lib/interop/errors.ts";
import { ModelFiles } from "../../lib/interop/model_files.ts";
import { writeSafetensors } from "../../lib/interop/safetensors.ts";

/** Writes one-element tensors: name to value, by file. */
async function writeShards(
  folder: string,
  shards: Record<string, Record<string, number>>,
  index: unknown = {
    weight_map: Object.fromEntries(
      Object.entries(shards).flatMap(([file, tensors]) =>
        Object.keys(tensors).map((name) => [name, file])
      ),
    ),
  },
): Promise<void> {
  for (const [name, tensors] of Object.entries(shards)) {
    using file = Deno.openSync(join(folder, name), { write: true, create: true });
    await writeSafetensors(
      file,
      Object.entries(tensors).map(([name, value]) => ({
        name,
        shape: [1],
        dtype: "U8",
        read: (into) => into.fill(value),
      })),
    );
  }
  Deno.writeTextFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
}

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const SHARDS = { "m-1.safetensors": { a: 1, c: 3 }, "m-2.safetensors": { b: 2 } };

Deno.test("ModelFiles reads the shards of an index as one", async () => {
  await withFolder(async (folder) => {
    await writeShards(folder, SHARDS);
    using files = ModelFiles.open(folder);
    assertEquals([...files.tensors.keys()].sort(), ["a", "b", "c"]);
    const values = [];
    for (const name of ["a", "b", "c"]) {
      const byte = new Uint8Array(1);
      await files.readInto(name, byte, 0);
      values.push(byte[0]);
    }
    assertEquals(values, [1, 2, 3]);
  });
});

Deno.test("ModelFiles reads model.safetensors rather than an index beside it", async () => {
  await withFolder(async (folder) => {
    await writeShards(folder, { ...SHARDS, "model.safetensors": { z: 9 } });
    using files = ModelFiles.open(folder);
    assertEquals([...files.tensors.keys()], ["z"]);
  });
});

Deno.test("ModelFiles.open() throws when there are no weights", async () => {
  await withFolder((folder) => {
    assertThrows(() => ModelFiles.open(folder), InteropError, "neither");
    return Promise.resolve();
  });
});

Deno.test("ModelFiles.open() throws when a shard is missing", async () => {
  await withFolder(async (folder) => {
    await writeShards(folder, SHARDS);
    Deno.removeSync(join(folder, "m-2.safetensors"));
    assertThrows(() => ModelFiles.open(folder), InteropError, "m-2.safetensors");
  });
});

const REFUSED: [string, Record<string, Record<string, number>>, unknown, string][] = [
  [
    "a tensor lies in two shards",
    { "m-1.safetensors": { a: 1 }, "m-2.safetensors": { a: 2, b: 2 } },
    { weight_map: { a: "m-1.safetensors", b: "m-2.safetensors" } },
    `"a" in`,
  ],
  [
    "a tensor lies in another shard than listed",
    SHARDS,
    { weight_map: { a: "m-1.safetensors", b: "m-1.safetensors", c: "m-2.safetensors" } },
    `tensor "b" must lie in m-1.safetensors`,
  ],
  [
    "a listed tensor is in no shard",
    { "m-1.safetensors": { a: 1 } },
    { weight_map: { a: "m-1.safetensors", b: "m-1.safetensors" } },
    "no shard",
  ],
  [
    "a tensor is not listed",
    { "m-1.safetensors": { a: 1, b: 2 } },
    { weight_map: { a: "m-1.safetensors" } },
    `no entry for "b"`,
  ],
  ["the index leaves the folder", SHARDS, { weight_map: { a: "../m-1.safetensors" } }, "beside it"],
  ["a shard has NUL in its name", SHARDS, { weight_map: { a: "m\0.safetensors" } }, "beside it"],
  ["a shard has no name", SHARDS, { weight_map: { a: "" } }, "beside it"],
  ["a shard is a number", SHARDS, { weight_map: { a: { toString: 1 } } }, "beside it"],
  ["the index has no map", SHARDS, { metadata: {} }, "weight_map"],
  ["the index is a list", SHARDS, [], "weight_map"],
];

for (const [what, shards, index, message] of REFUSED) {
  Deno.test(`ModelFiles.open() throws when ${what}`, async () => {
    await withFolder(async (folder) => {
      await writeShards(folder, shards, index);
      assertThrows(() => ModelFiles.open(folder), InteropError, message);
    });
  });
}

Deno.test("ModelFiles.open() throws when the index is no JSON", async () => {
  await withFolder(async (folder) => {
    await writeShards(folder, SHARDS);
    Deno.truncateSync(join(folder, "model.safetensors.index.json"), 10);
    assertThrows(() => ModelFiles.open(folder), InteropError, "must be JSON");
  });
});
