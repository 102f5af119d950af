import { assertEquals, assertThrows } from "@std/assert";
import { BitNetConfig } from "../../lib/model/config.ts";
import { InteropError } from "../../lib/interop/errors.ts";
import {
  formatHuggingFaceConfig,
  parameterShapes,
  parseHuggingFaceConfig,
} from "../../lib/interop/huggingface.ts";

const CONFIG = new BitNetConfig({
  vocabSize: 130,
  hiddenSize: 24,
  numLayers: 2,
  numHeads: 6,
  numKvHeads: 2,
  intermediateSize: 56,
  hiddenAct: "relu2",
  ropeTheta: 12345.5,
  rmsNormEps: 3e-6,
  tieEmbeddings: false,
  maxSeqLen: 77,
  activationQuant: "absmean",
  initStd: 0.0125,
});

function edited(change: Record<string, unknown>): string {
  const fields = JSON.parse(formatHuggingFaceConfig(CONFIG));
  for (const [key, value] of Object.entries(change)) {
    if (value === undefined) delete fields[key];
    else fields[key] = value;
  }
  return JSON.stringify(fields);
}

Deno.test("parseHuggingFaceConfig() gives back the config that was written", () => {
  const { config } = parseHuggingFaceConfig(formatHuggingFaceConfig(CONFIG), "config.json");
  assertEquals(config, CONFIG);
});

Deno.test("parseHuggingFaceConfig() gives back an unquantised config", () => {
  const plain = new BitNetConfig({
    hiddenSize: 64,
    numLayers: 1,
    numHeads: 1,
    quantization: "none",
  });
  const text = formatHuggingFaceConfig(plain);
  assertEquals(parseHuggingFaceConfig(text, "config.json").config, plain);
  assertEquals("quantization_config" in JSON.parse(text), false);
});

Deno.test("parseHuggingFaceConfig() gives back the special tokens", () => {
  const special = { bosTokenId: 1, eosTokenId: [2, 3], padTokenId: null, startIds: [1] };
  const text = formatHuggingFaceConfig(CONFIG, special);
  assertEquals(parseHuggingFaceConfig(text, "config.json").specialTokens, special);
});

for (
  const [key, value] of [
    ["bos_token_id", 999999],
    ["eos_token_id", CONFIG.vocabSize],
    ["eos_token_id", [2, 999999]],
    ["pad_token_id", 999999],
    ["titanbit_start_token_ids", [1, 999999]],
  ] as const
) {
  Deno.test(`parseHuggingFaceConfig() names file and key when ${key} is ${JSON.stringify(value)}, beyond the vocabulary`, () => {
    const fields = { ...JSON.parse(formatHuggingFaceConfig(CONFIG)), [key]: value };
    assertThrows(
      () => parseHuggingFaceConfig(JSON.stringify(fields), "run/config.json"),
      InteropError,
      `Cannot read run/config.json as ${key} must be below vocab_size, ${CONFIG.vocabSize}: current value is ` +
        JSON.stringify(value),
    );
  });
}

Deno.test("formatHuggingFaceConfig() asks transformers to quantise latent weights on the fly", () => {
  const fields = JSON.parse(formatHuggingFaceConfig(CONFIG));
  assertEquals(fields.quantization_config, {
    quant_method: "bitnet",
    linear_class: "autobitlinear",
    quantization_mode: "online",
  });
});

Deno.test("formatHuggingFaceConfig() writes null for special tokens it does not have", () => {
  const fields = JSON.parse(formatHuggingFaceConfig(CONFIG));
  assertEquals([fields.bos_token_id, fields.eos_token_id, fields.pad_token_id], [null, null, null]);
});

Deno.test("formatHuggingFaceConfig() writes the rotary base where both versions look", () => {
  const fields = JSON.parse(formatHuggingFaceConfig(CONFIG));
  assertEquals(fields.rope_theta, 12345.5);
  assertEquals(fields.rope_parameters, { rope_type: "default", rope_theta: 12345.5 });
});

Deno.test("parseHuggingFaceConfig() reads the rotary base of either version", () => {
  const old = parseHuggingFaceConfig(edited({ rope_parameters: undefined }), "config.json");
  const recent = parseHuggingFaceConfig(edited({ rope_theta: undefined }), "config.json");
  assertEquals([old.config.ropeTheta, recent.config.ropeTheta], [12345.5, 12345.5]);
});

Deno.test("parseHuggingFaceConfig() takes transformers' defaults for keys left out", () => {
  const text = JSON.stringify({
    model_type: "bitnet",
    vocab_size: 100,
    hidden_size: 64,
    intermediate_size: 128,
    num_hidden_layers: 1,
    num_attention_heads: 2,
  });
  const { config } = parseHuggingFaceConfig(text, "config.json");
  assertEquals(
    config,
    new BitNetConfig({
      vocabSize: 100,
      hiddenSize: 64,
      intermediateSize: 128,
      numLayers: 1,
      numHeads: 2,
      hiddenAct: "relu2",
      ropeTheta: 500000,
      tieEmbeddings: false,
      quantization: "none",
    }),
  );
});

const BITNET = {
  quant_method: "bitnet",
  linear_class: "autobitlinear",
  quantization_mode: "online",
};

const REFUSED: [string, Record<string, unknown>, string][] = [
  ["another architecture", { model_type: "llama" }, "model_type"],
  ["layers by the billion", { num_hidden_layers: 2e9 }, "num_hidden_layers must be"],
  ["a vocabulary by the billion", { vocab_size: 2e9 }, "vocab_size must be"],
  ["deviations that float32 takes for 0", { initializer_range: 1e-300 }, "initializer_range"],
  [
    "a string for a number",
    { hidden_size: "24" },
    `hidden_size must be a whole number from 1 to 131072`,
  ],
  ["no hidden_size", { hidden_size: undefined }, "hidden_size"],
  ["no layers", { num_hidden_layers: 0 }, "num_hidden_layers"],
  ["heads that do not divide", { num_attention_heads: 5, head_dim: null }, "numHeads must divide"],
  ["a head_dim of its own", { head_dim: 8 }, "head_dim must be 4"],
  ["biases", { attention_bias: true }, "attention_bias"],
  ["another non-linearity", { hidden_act: "gelu" }, `hidden_act must be "relu2" or "silu"`],
  [
    "scaled rotary frequencies",
    { rope_parameters: { rope_type: "yarn" } },
    "rope_parameters.rope_type",
  ],
  ["rope_scaling", { rope_scaling: { factor: 2 } }, "rope_scaling"],
  ["a token id below 0", { bos_token_id: -1 }, "bos_token_id"],
  [
    "packed weights",
    { quantization_config: { ...BITNET, quantization_mode: "offline" } },
    "quantization_config.quantization_mode",
  ],
  [
    "another quantiser",
    { quantization_config: { quant_method: "gptq" } },
    "quantization_config.quant_method",
  ],
  [
    "one more norm",
    { quantization_config: { ...BITNET, use_rms_norm: true } },
    "quantization_config.use_rms_norm",
  ],
  [
    "layers left unquantised",
    { quantization_config: { ...BITNET, modules_to_not_convert: ["model.layers.0"] } },
    "quantization_config.modules_to_not_convert",
  ],
];

for (const [what, change, message] of REFUSED) {
  Deno.test(`parseHuggingFaceConfig() throws when there is ${what}`, () => {
    const error = assertThrows(
      () => parseHuggingFaceConfig(edited(change), "folder/config.json"),
      InteropError,
      message,
    );
    assertEquals(error.message.includes("folder/config.json"), true);
  });
}

Deno.test("parseHuggingFaceConfig() throws when the text is no JSON object", () => {
  assertThrows(() => parseHuggingFaceConfig("{", "c"), InteropError, "must be JSON");
  assertThrows(() => parseHuggingFaceConfig("[]", "c"), InteropError, "current value is []");
  assertThrows(() => parseHuggingFaceConfig("null", "c"), InteropError, "null");
});

Deno.test("parameterShapes() lists transformers' names and shapes", () => {
  const shapes = parameterShapes(CONFIG).map(({ name, shape }) => `${name} ${shape}`);
  assertEquals(shapes.length, 1 + 2 * 11 + 1 + 1);
  assertEquals(shapes.slice(0, 12), [
    "model.embed_tokens.weight 130,24",
    "model.layers.0.input_layernorm.weight 24",
    "model.layers.0.self_attn.q_proj.weight 24,24",
    "model.layers.0.self_attn.k_proj.weight 8,24",
    "model.layers.0.self_attn.v_proj.weight 8,24",
    "model.layers.0.self_attn.attn_sub_norm.weight 24",
    "model.layers.0.self_attn.o_proj.weight 24,24",
    "model.layers.0.post_attention_layernorm.weight 24",
    "model.layers.0.mlp.gate_proj.weight 56,24",
    "model.layers.0.mlp.up_proj.weight 56,24",
    "model.layers.0.mlp.ffn_sub_norm.weight 56",
    "model.layers.0.mlp.down_proj.weight 24,56",
  ]);
  assertEquals(shapes.slice(-2), ["model.norm.weight 24", "lm_head.weight 130,24"]);
});

Deno.test("parameterShapes() leaves the head out when it is tied", () => {
  const tied = new BitNetConfig({ hiddenSize: 64, numLayers: 1, numHeads: 1 });
  assertEquals(parameterShapes(tied).at(-1)!.name, "model.norm.weight");
});
