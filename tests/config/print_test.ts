import { assertEquals, assertStringIncludes } from "@std/assert";
import { parse } from "@std/yaml";
import { parseRunConfig } from "../../lib/config/load.ts";
import { runConfigToJson, runConfigToYaml } from "../../lib/config/print.ts";

const TEXT = `model: {size: 125M, quantization: none, rms_norm_eps: 1e-6}
data: {train: [a.tokens, "b c.tokens"], validation: "null", tokenizer: 'x: y # z'}
training: {tokens: 1e8, batch_sequences: 12, seq_len: 512, threads: 3}
optimizer: {lr: 3e-4, schedule: {type: wsd, decay_fraction: 0.1}}
checkpoint: {run: "123", directory: ".5"}
logging: {jsonl: null}
`;

Deno.test("runConfigToYaml() writes what reads back to the same run, with every key given", () => {
  const { config, defaults } = parseRunConfig(TEXT, { file: "first.yaml" });
  const again = parseRunConfig(runConfigToYaml(config, { defaults }), { file: "second.yaml" });
  assertEquals(again.config, config);
  assertEquals(again.defaults, []);
});

Deno.test("runConfigToYaml() writes what reads back when settings are at their bounds", () => {
  for (const lr of ["1e-8", "1000"]) {
    const text = TEXT.replace(/optimizer: .*/, `optimizer: {lr: ${lr}, schedule: {type: bitnet}}`);
    const { config } = parseRunConfig(text, { file: "first.yaml" });
    assertEquals(parseRunConfig(runConfigToYaml(config), { file: "second.yaml" }).config, config);
  }
});

Deno.test("runConfigToJson() holds the same data as the YAML", () => {
  const { config } = parseRunConfig(TEXT, { file: "first.yaml" });
  assertEquals(JSON.parse(JSON.stringify(runConfigToJson(config))), parse(runConfigToYaml(config)));
});

Deno.test("runConfigToYaml() puts the reason beside each key that was left open", () => {
  const { config, defaults } = parseRunConfig(TEXT, { file: "first.yaml" });
  const yaml = runConfigToYaml(config, { defaults });
  assertStringIncludes(yaml, "  hidden_size: 768  # size 125M\n");
  assertStringIncludes(yaml, "  batch_sequences: 12  # 6144 tokens a step, in 1 micro-batches\n");
  assertStringIncludes(yaml, "  threads: 3\n");
});
