/** Every task that loads a tokenizer, on each engine, with the permissions that deno.json gives it. */

import { assertEquals, assertMatch } from "@std/assert";
import { smallTokenizerJson } from "../data/text_support.ts";
import { withFolder } from "../inference/support.ts";
import { type Finished, runTask } from "./support.ts";

type Json = Record<string, unknown>;

/** Files by the engine that runs them: what the native one does not speak runs on the npm package. */
const FILES: Record<string, () => Json> = {
  "the native engine": () => small(),
  "the package, by a normalizer": () => ({ ...small(), normalizer: { type: "NFC" } }),
  "the package, by WordLevel": () => ({
    ...small(),
    pre_tokenizer: { type: "Whitespace" },
    decoder: null,
    model: {
      type: "WordLevel",
      vocab: { "<|endoftext|>": 0, "<unk>": 1, the: 2, ship: 3, and: 4, sea: 5 },
      unk_token: "<unk>",
    },
  }),
};

function small(): Json {
  return JSON.parse(new TextDecoder().decode(smallTokenizerJson()));
}

const CONFIG = (folder: string) => `
model: { vocab_size: 272, hidden_size: 64, num_layers: 1, num_heads: 2, num_kv_heads: 1,
  intermediate_size: 64, max_seq_len: 16 }
data: { train: ${folder}/text.tokens, tokenizer: ${folder}/tokenizer.json }
training: { steps: 2, seq_len: 16, batch_sequences: 1, micro_batch: 1, device: cpu, eval_every: 0 }
optimizer: { lr: 1e-3, schedule: { type: cosine, warmup_steps: 1 } }
checkpoint: { directory: ${folder}/checkpoints, run: words }
logging: { every_steps: 1, samples: { every_steps: 2, prompts: [the ship], max_tokens: 3 } }
`;

for (const [name, json] of Object.entries(FILES)) {
  Deno.test(`tokenize, train, generate and evaluate run with the permissions of their tasks on ${name}`, () =>
    withFolder(async (folder) => {
      const succeed = async (task: string, args: readonly string[]): Promise<Finished> => {
        const finished = await runTask(task, args);
        assertEquals([task, finished.code, finished.code === 0 ? "" : finished.stderr], [
          ...[task, 0, ""],
        ]);
        return finished;
      };
      const text = `${folder}/text.txt`;
      Deno.writeTextFileSync(text, "the ship and the sea ".repeat(40));
      Deno.writeTextFileSync(`${folder}/tokenizer.json`, JSON.stringify(json()));
      Deno.writeTextFileSync(`${folder}/config.yaml`, CONFIG(folder));
      const files = ["--tokenizer", `${folder}/tokenizer.json`, "--workers", "2"];
      await succeed("tokenize", ["--input", text, "--output", `${folder}/text.tokens`, ...files]);
      await succeed("train", ["--config", `${folder}/config.yaml`]);
      const checkpoint = ["--checkpoint", `${folder}/checkpoints/words`];
      const prompt = ["--prompt", "the ship", "--max-tokens", "3", "--json"];
      const { stdout } = await succeed("generate", [...checkpoint, ...prompt]);
      assertEquals(JSON.parse(stdout).prompt, "the ship");
      const scored = await succeed("evaluate", [...checkpoint, "--data", text]);
      assertMatch(scored.stdout, /perplexity/);
    }));
}
