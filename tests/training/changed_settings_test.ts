import { assertEquals } from "@std/assert";
import { parse } from "@std/yaml";
import type { PlainMapping } from "../../lib/config/print.ts";
import { changedSettings } from "../../lib/training/changed_settings.ts";

const NOW = {
  data: { train: ["a.tokens", "b.tokens"] },
  optimizer: { lr: 0.001, betas: [0.9, 0.95] },
  checkpoint: { run: "b" },
};

Deno.test("changedSettings() names the keys that differ, and none of where things go", () => {
  const before = {
    data: { train: ["a.tokens", "c.tokens"], seed: 3 },
    optimizer: { lr: 0.002, betas: [0.9, 0.95] },
    checkpoint: { run: "a" },
  };
  assertEquals(changedSettings(before, NOW), [
    'data.train ["a.tokens","c.tokens"] -> ["a.tokens","b.tokens"]',
    "data.seed 3 -> none",
    "optimizer.lr 0.002 -> 0.001",
  ]);
});

Deno.test("changedSettings() is short where a checkpoint's YAML is circular or an alias bomb", () => {
  const lines = ["a0: &a0 {k: x, l: x, m: x, n: x, o: x, p: x, q: x, r: x}"];
  for (let i = 1; i < 30; i++) {
    lines.push(`a${i}: &a${i} {${[..."klmnopqr"].map((k) => `${k}: *a${i - 1}`).join(", ")}}`);
  }
  const before = parse([...lines, "data: &d {train: [*d]}"].join("\n")) as PlainMapping;
  const changes = changedSettings(before, NOW);
  assertEquals(changes.some((change) => change.startsWith("data.train [{")), true);
  assertEquals(changes.every((change) => change.length < 200), true);
});
