import { assertEquals } from "@std/assert";
import { differingSettings } from "../../lib/history/differing_settings.ts";

Deno.test("differingSettings() gives the keys whose values differ, but for where things go", () => {
  const configs = [
    "optimizer: { lr: 0.001, betas: [0.9, 0.95] }\ncheckpoint: { run: a }\nmodel: { layers: 4 }",
    "optimizer: { lr: 5e-4, betas: [0.9, 0.95] }\ncheckpoint: { run: b }\nmodel: { layers: 4 }",
    null,
    "optimizer: { lr: 0.001, betas: [0.9, 0.99] }\nmodel: { layers: 4, tied: true }",
  ];
  assertEquals(differingSettings(configs), [
    { key: "optimizer.lr", values: ["0.001", "0.0005", null, "0.001"] },
    { key: "optimizer.betas", values: ["[0.9,0.95]", "[0.9,0.95]", null, "[0.9,0.99]"] },
    { key: "model.tied", values: [null, null, null, "true"] },
  ]);
  assertEquals(differingSettings([configs[0]!, null, "{ no: yaml"]), []);
});
