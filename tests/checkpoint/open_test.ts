import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { BitNetConfig } from "../../lib/model/config.ts";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { openCheckpoint, verifyCheckpoint } from "../../lib/checkpoint/open.ts";
import { optimizerTensors } from "../../lib/checkpoint/optimizer_tensors.ts";
import { modelTensors, saveCheckpoint } from "../../lib/checkpoint/save.ts";
import { formatHuggingFaceConfig } from "../../lib/interop/huggingface.ts";
import { CONFIG, contentOf, forge, namesIn, sinksOf, withFolder } from "./support.ts";

const NAMES = [
  "checksums.json",
  "config.json",
  "config.yaml",
  "model.safetensors",
  "optimizer.safetensors",
  "tokenizer.json",
  "trainer_state.json",
];

async function withCheckpoint(body: (path: string) => Promise<void>): Promise<void> {
  await withFolder(async (run) => await body((await saveCheckpoint(run, contentOf(7))).path));
}

async function problemOf(path: string): Promise<string> {
  const problems = await verifyCheckpoint(path);
  const error = await assertRejects(() => openCheckpoint(path), CheckpointError);
  assertStringIncludes(error.message, problems.join("; "));
  return problems.join("; ");
}

Deno.test("verifyCheckpoint() finds nothing wrong with a sound checkpoint", async () => {
  await withCheckpoint(async (path) => assertEquals(await verifyCheckpoint(path), []));
});

Deno.test("verifyCheckpoint() finds nothing wrong with a copy in another place", async () => {
  await withCheckpoint(async (path) => {
    Deno.renameSync(path, join(path, "..", "best"));
    assertEquals(await verifyCheckpoint(join(path, "..", "best")), []);
  });
});

for (const name of NAMES) {
  Deno.test(`verifyCheckpoint() names ${name} when it is missing`, async () => {
    await withCheckpoint(async (path) => {
      Deno.removeSync(join(path, name));
      assertStringIncludes(await problemOf(path), `${name} is missing`);
    });
  });

  Deno.test(`verifyCheckpoint() names ${name} when it was cut off`, async () => {
    await withCheckpoint(async (path) => {
      const whole = Deno.readFileSync(join(path, name));
      for (const length of [0, 1, 8, whole.length >> 1, whole.length - 1]) {
        Deno.writeFileSync(join(path, name), whole.subarray(0, length));
        assertStringIncludes(await problemOf(path), name, `cut to ${length}`);
      }
    });
  });

  Deno.test(`verifyCheckpoint() names ${name} when a byte trails it`, async () => {
    await withCheckpoint(async (path) => {
      Deno.writeFileSync(join(path, name), new Uint8Array([10]), { append: true });
      assertStringIncludes(await problemOf(path), name);
    });
  });

  Deno.test(`verifyCheckpoint() names ${name} when a bit flipped`, async () => {
    await withCheckpoint(async (path) => {
      const whole = Deno.readFileSync(join(path, name));
      const places = 12; // spread over the file, first and last byte among them
      for (let i = 0; i <= places; i++) {
        const at = Math.floor(i * (whole.length - 1) / places);
        const flipped = whole.slice();
        flipped[at] = flipped[at]! ^ (1 << (i % 8));
        Deno.writeFileSync(join(path, name), flipped);
        const problem = await problemOf(path);
        // A flip in the list of checksums may accuse the file whose entry it hit.
        if (name !== "checksums.json") assertStringIncludes(problem, `${name} was changed`);
      }
    });
  });
}

Deno.test("verifyCheckpoint() sees a flip of any bit of checksums.json", async () => {
  await withCheckpoint(async (path) => {
    const file = join(path, "checksums.json");
    const whole = Deno.readFileSync(file);
    for (let at = 0; at < whole.length; at++) {
      const flipped = whole.slice();
      flipped[at] = flipped[at]! ^ (1 << (at % 8));
      Deno.writeFileSync(file, flipped);
      const problems = await verifyCheckpoint(path);
      assert(problems.length > 0, `byte ${at} of ${whole.length}`);
    }
  });
});

Deno.test("verifyCheckpoint() names every file that is wrong", async () => {
  await withCheckpoint(async (path) => {
    Deno.removeSync(join(path, "config.yaml"));
    Deno.truncateSync(join(path, "model.safetensors"), 100);
    const problems = await verifyCheckpoint(path);
    assertEquals(problems.map((problem) => problem.split(" ")[0]), [
      "config.yaml",
      "model.safetensors",
    ]);
    assertStringIncludes(
      problems[1]!,
      "current value is 100; copy the file again, or take another checkpoint",
    );
  });
});

Deno.test("openCheckpoint() throws when there is no such folder", async () => {
  await assertRejects(() => openCheckpoint("/no/such/step"), CheckpointError, "no such folder");
});

/** Swaps equally long texts inside a file and repairs its checksum. */
function replaceIn(path: string, name: string, [from, to]: [string, string]): void {
  const text = new TextDecoder("latin1").decode(Deno.readFileSync(join(path, name)));
  assert(text.includes(from));
  const bytes = Uint8Array.from(text.replace(from, to), (letter) => {
    // windows-1252, which "latin1" means to the decoder, moves 0x80 to 0x9f elsewhere
    const code = letter.charCodeAt(0);
    return code < 256 ? code : WINDOWS_1252.get(code)!;
  });
  forge(path, name, bytes);
}

const WINDOWS_1252 = new Map(
  Array.from({ length: 256 }, (_, byte) => {
    return [new TextDecoder("latin1").decode(new Uint8Array([byte])).charCodeAt(0), byte];
  }),
);

const FORGED: [string, string, [string, string], string][] = [
  [
    "a parameter has another name",
    "model.safetensors",
    ["self_attn.q_proj", "self_attn.Q_proj"],
    `"model.layers.0.self_attn.q_proj.weight"`,
  ],
  [
    "a parameter is transposed",
    "model.safetensors",
    [`"shape":[20,12]`, `"shape":[12,20]`],
    "must have the shape [20, 12]: current value is [12, 20]",
  ],
  [
    "a parameter has another dtype",
    "model.safetensors",
    [`"dtype":"F32"`, `"dtype":"I32"`],
    "must be readable as F32: current value is I32",
  ],
  [
    "a state of the optimizer has another name",
    "optimizer.safetensors",
    ["exp_avg_sq", "exp_avg_SQ"],
    `exp_avg_sq"`,
  ],
  [
    "tensors overlap",
    "model.safetensors",
    [`"data_offsets":[1776,`, `"data_offsets":[1772,`],
    "model.safetensors",
  ],
  [
    "the config is of another width",
    "config.json",
    [`"vocab_size": 37`, `"vocab_size": 38`],
    "must have the shape [38, 12]: current value is [37, 12]",
  ],
  [
    "the config has more layers",
    "config.json",
    [`"num_hidden_layers": 1`, `"num_hidden_layers": 2`],
    "model.layers.1.",
  ],
  [
    "the config is of another architecture",
    "config.json",
    [`"model_type": "bitnet"`, `"model_type": "llamaa"`],
    "model_type",
  ],
  ["the state is no JSON", "trainer_state.json", ["{", "["], "trainer_state.json"],
  ["the state has no step", "trainer_state.json", [`"step"`, `"stop"`], "step must be"],
  [
    "the state has a bigint that is none",
    "trainer_state.json",
    [`"tokens": 448`, `"tokens": {"$bigint": {"toString": 1}}`],
    "trainer_state.json",
  ],
  [
    "the state nests without end",
    "trainer_state.json",
    [`"tokens": 448`, `"tokens": ${"[".repeat(50_000)}${"]".repeat(50_000)}`],
    "levels",
  ],
  ["the state has half a step", "trainer_state.json", [`"step": 7`, `"step": 7.5`], "7.5"],
];

for (const [what, name, change, message] of FORGED) {
  Deno.test(`openCheckpoint() throws, whatever the checksums say, when ${what}`, async () => {
    await withCheckpoint(async (path) => {
      replaceIn(path, name, change);
      assertStringIncludes(await problemOf(path), message);
    });
  });
}

Deno.test("openCheckpoint() throws when a newer version wrote it", async () => {
  await withCheckpoint(async (path) => {
    const file = join(path, "checksums.json");
    const text = Deno.readTextFileSync(file).replace(`"version": 1`, `"version": 2`);
    Deno.writeTextFileSync(file, text);
    assertStringIncludes(await problemOf(path), "newer TitanBit");
  });
});

Deno.test("openCheckpoint() still compares sizes and shapes without checksums", async () => {
  await withCheckpoint(async (path) => {
    await openCheckpoint(path, { checksums: false });
    Deno.truncateSync(join(path, "model.safetensors"), 1000);
    await assertRejects(
      () => openCheckpoint(path, { checksums: false }),
      CheckpointError,
      "model.safetensors must be",
    );
  });
});

const OTHER = new BitNetConfig({ ...CONFIG, vocabSize: 38 });

Deno.test("Checkpoint.loadParameters() throws and writes nothing when a shape differs", async () => {
  await withCheckpoint(async (path) => {
    const checkpoint = await openCheckpoint(path);
    const { sinks, memory } = sinksOf(modelTensors(OTHER));
    await assertRejects(() => checkpoint.loadParameters(sinks), CheckpointError, "[38, 12]");
    assert([...memory.values()].every((bytes) => bytes.every((byte) => byte === 0xaa)));
  });
});

Deno.test("Checkpoint.restore() writes no parameter when the optimizer differs", async () => {
  await withCheckpoint(async (path) => {
    const checkpoint = await openCheckpoint(path);
    const parameters = sinksOf(modelTensors(CONFIG));
    const optimizer = sinksOf(optimizerTensors(modelTensors(OTHER)));
    await assertRejects(
      () => checkpoint.restore({ parameters: parameters.sinks, optimizer: optimizer.sinks }),
      CheckpointError,
      "exp_avg",
    );
    assert([...parameters.memory.values()].every((bytes) => bytes.every((byte) => byte === 0xaa)));
  });
});

Deno.test("Checkpoint.restore() throws when it was saved without an optimizer", async () => {
  await withFolder(async (run) => {
    const { path } = await saveCheckpoint(run, { ...contentOf(7), optimizer: [] });
    const checkpoint = await openCheckpoint(path);
    const { sinks } = sinksOf(modelTensors(CONFIG));
    await assertRejects(
      () => checkpoint.restore({ parameters: sinks, optimizer: [] }),
      CheckpointError,
      "Cannot resume",
    );
  });
});

Deno.test("Checkpoint.loadParameters() throws when the file went away meanwhile", async () => {
  await withCheckpoint(async (path) => {
    const checkpoint = await openCheckpoint(path);
    Deno.removeSync(join(path, "model.safetensors"));
    const { sinks } = sinksOf(modelTensors(CONFIG));
    await assertRejects(() => checkpoint.loadParameters(sinks), CheckpointError, "readable");
  });
});

Deno.test("openCheckpoint() throws when the optimizer is of another model", async () => {
  await withFolder(async (run) => {
    const { path } = await saveCheckpoint(run, contentOf(7));
    const other = await saveCheckpoint(join(run, "other"), contentOf(7, { config: OTHER }));
    for (const name of ["model.safetensors", "config.json"]) {
      forge(path, name, Deno.readFileSync(join(other.path, name)));
    }
    assertStringIncludes(await problemOf(path), "optimizer.safetensors: tensor");
  });
});

Deno.test("openCheckpoint() takes files that it does not know", async () => {
  await withCheckpoint(async (path) => {
    Deno.writeTextFileSync(join(path, "README.md"), "a note");
    assertEquals((await openCheckpoint(path)).step, 7);
    assertEquals(namesIn(path).includes("README.md"), true);
  });
});

Deno.test("openCheckpoint() reads the config that its config.json states", async () => {
  await withCheckpoint(async (path) => {
    const text = formatHuggingFaceConfig(new BitNetConfig({ ...CONFIG, ropeTheta: 77 }));
    forge(path, "config.json", new TextEncoder().encode(text));
    assertEquals((await openCheckpoint(path)).config.ropeTheta, 77);
  });
});
