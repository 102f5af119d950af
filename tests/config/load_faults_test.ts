import { assertEquals, assertRejects } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { loadFaults } from "../../lib/config/load_faults.ts";

async function load(text: string) {
  const file = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    await Deno.writeTextFile(file, text);
    return await loadFaults(file);
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("loadFaults() fills what a fault leaves open", async () => {
  assertEquals(await load("- { kind: loss, steps: 40 }"), [
    { kind: "loss", steps: [40], repeat: "once", factor: 10, ms: 1000 },
  ]);
});

Deno.test("loadFaults() reads JSON", async () => {
  const text = '[{ "kind": "stalled_read", "steps": [3, 5], "ms": 20, "repeat": "always" }]';
  assertEquals(await load(text), [
    { kind: "stalled_read", steps: [3, 5], repeat: "always", factor: 10, ms: 20 },
  ]);
});

for (
  const [text, message] of [
    ["kind: loss", "expected a list of faults, got"],
    ["- { kind: lost, steps: 1 }", "[0].kind: expected one of loss, inf_loss, nan_gradient"],
    ["- { kind: loss }", "[0].steps: expected a step from 1, or a list of them, got nothing"],
    ["- { kind: loss, steps: 0 }", "[0].steps: expected a step from 1, got 0"],
    [
      "- { kind: loss, steps: 010 }",
      '[0].steps: expected a step from 1, or a list of them, got "010"; write',
    ],
    ["- { kind: loss, steps: [4, 0x10] }", "[0].steps"],
    ["- { kind: loss, step: 4, steps: 4 }", '[0].step: expected a key of a fault, got "step", did'],
    ["- { kind: loss, steps: 4, repeat: twice }", "[0].repeat: expected once or always, got"],
    ["- [", "expected a YAML file, got"],
  ] as const
) {
  Deno.test(`loadFaults() refuses ${text}`, async () => {
    await assertRejects(() => load(text), ConfigError, message);
  });
}

Deno.test("loadFaults() names a file that is not there", async () => {
  await assertRejects(() => loadFaults("/nowhere.yaml"), ConfigError, "got no such file");
});
