import { assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

const CONFIG = `
model: { vocab_size: 300, hidden_size: 64, num_layers: 2, num_heads: 2, intermediate_size: 256, max_seq_len: 32 }
data: { train: text.tokens, tokenizer: tokenizer.json }
training: { steps: 10, seq_len: 32, batch_sequences: 4, device: cpu, eval_every: 0 }
optimizer: { lr: 1e-3 }
checkpoint: { run: tiny, every_steps: 10 }
logging: { every_steps: 1 }
`;

/** A tokenizer.json that is no BPE. */
const WORDS = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: ["[UNK]", "</s>"].map((content, id) => ({
    ...{ id, content, special: true, normalized: false },
    ...{ single_word: false, lstrip: false, rstrip: false },
  })),
  normalizer: null,
  pre_tokenizer: { type: "Whitespace" },
  post_processor: null,
  decoder: null,
  model: {
    type: "WordLevel",
    vocab: { "[UNK]": 0, "</s>": 1, Line: 2, of: 3 },
    unk_token: "[UNK]",
  },
};

/** Runs a shell line in `cwd`; its output, or an error with all it said. */
async function shell(line: string, cwd: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("sh", { args: ["-c", line], cwd })
    .output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  if (!success) throw new Error(`${line}\n${said}`);
  return said;
}

/** A prefix that takes the network away where this user may do that; the launcher grants the dashboard's own addresses alone. */
async function withoutNetwork(): Promise<string> {
  for (const prefix of ["unshare -n", "unshare -rn"]) {
    const { success } = await new Deno.Command("sh", { args: ["-c", `${prefix} true`] }).output();
    if (success) return prefix;
  }
  return "";
}

Deno.test("a release trains ten steps when it is unpacked elsewhere, without network, environment or home", async (t) => {
  const folder = await Deno.makeTempDir({ prefix: "titanbit release " });
  try {
    await shell(`deno task --quiet dist --output "${folder}/packed" 2>&1`, ROOT);
    await shell("mkdir moved && tar -xf packed/*.tar.gz -C moved && rm -r packed", folder);
    const [{ name }] = [...Deno.readDirSync(join(folder, "moved"))] as [Deno.DirEntry];
    // Started by a link from another folder, as an installation does.
    await shell(`ln -s "moved/${name}/titanbit" titanbit && mkdir run`, folder);
    const run = join(folder, "run");
    const titanbit = `env -i ${await withoutNetwork()} ../titanbit`;

    await t.step("it says its version", async () => {
      const { version } = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
      assertStringIncludes(await shell(`${titanbit} --version`, run), version);
    });

    await t.step("its help, errors, configs and README name its own commands", async () => {
      const words = /deno task (?!compile)\S+/;
      const said = [
        await shell(`${titanbit} --help`, run),
        await shell(`${titanbit} train --help`, run),
        await shell(`! ${titanbit} train --zzzzzzzzzzzz`, run),
        await shell(`${titanbit} evaluate --help`, run),
        await shell("cat ../moved/*/configs/*.yaml ../moved/*/README.md", run),
      ];
      assertEquals(said.map((text) => words.exec(text)?.[0]), said.map(() => undefined));
      assertStringIncludes(said[0]!, "Usage: titanbit COMMAND");
      assertStringIncludes(said[1]!, "\n  titanbit train --config configs/quickstart.yaml\n");
      assertStringIncludes(said[2]!, "see `titanbit train --help`");
    });

    await t.step("it says what it takes to fetch a corpus when there is no npm", async () => {
      await shell(
        'mkdir ../tools && ln -s "$(command -v dirname)" "$(command -v readlink)" ../tools',
        run,
      );
      const line = `! ${await withoutNetwork()} env -i PATH=../tools ../titanbit fetch-corpus`;
      assertStringIncludes(await shell(line, run), "install npm or set NPM_CONFIG_REGISTRY");
    });

    await t.step("it tokenizes in worker threads with a vocabulary of its own", async () => {
      const text = Array.from({ length: 2000 }, (_, i) => `Line ${i} of ${i * 7919 % 1000}.\n`);
      await Deno.writeTextFile(join(run, "text.txt"), text.join(""));
      await shell(
        `${titanbit} tokenize --input text.txt --output text.tokens --train-vocab 300 --workers 2`,
        run,
      );
      assertEquals((await Deno.stat(join(run, "tokenizer.json"))).isFile, true);
    });

    await t.step(
      "it runs the packed npm package in every command that meets a tokenizer",
      async () => {
        await Deno.writeTextFile(join(run, "words.json"), JSON.stringify(WORDS));
        await Deno.writeTextFile(
          join(run, "words.yaml"),
          CONFIG.replaceAll("text.tokens", "words.tokens").replace("tokenizer.json", "words.json")
            .replace("run: tiny", "run: words")
            .replace(
              "every_steps: 1 }",
              "every_steps: 1, samples: { every_steps: 5, prompts: [Line] } }",
            ),
        );
        const words = "checkpoints/words/step_0000010";
        for (
          const line of [
            "tokenize --input text.txt --output words.tokens --tokenizer words.json",
            "train --config words.yaml",
            `generate --checkpoint ${words} --prompt Line --max-tokens 4`,
            `evaluate --checkpoint ${words} --data text.txt`,
          ]
        ) await shell(`${titanbit} ${line}`, run);
      },
    );

    await t.step("it trains ten steps and saves a checkpoint", async () => {
      await Deno.writeTextFile(join(run, "config.yaml"), CONFIG);
      const said = await shell(`${titanbit} train --config config.yaml`, run);
      assertStringIncludes(said, "at step 10");
      const weights = join(run, "checkpoints/tiny/step_0000010/model.safetensors");
      assertEquals((await Deno.stat(weights)).isFile, true);
    });

    await t.step("it generates from that checkpoint", async () => {
      await shell(
        `${titanbit} generate --checkpoint checkpoints/tiny/step_0000010 --prompt Line --max-tokens 4`,
        run,
      );
    });

    await t.step("it uses its own OpenMP runtime", async () => {
      const linked = await shell(`ldd "moved/${name}/app/build/libtitanbit_cpu.so"`, folder);
      assertStringIncludes(linked, `/moved/${name}/app/build/libgomp.so.1`);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
