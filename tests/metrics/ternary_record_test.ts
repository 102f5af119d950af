import { assertEquals } from "@std/assert";
import { decodeRecord, encodeRecord, type TernaryRecord } from "../../lib/metrics/records.ts";
import { JsonlSink, readRecords } from "../../lib/metrics/sinks.ts";

function record(change: Partial<TernaryRecord> = {}): TernaryRecord {
  return {
    type: "ternary",
    step: 100,
    layers: 1,
    matrices: ["q", "k"],
    inputs: ["qkv"],
    zero_share: 0.310123,
    flip_rate: 0.00123457,
    flip_steps: 100,
    minus: [0.345, 0.34],
    zero: [0.31, 0.320001],
    plus: [0.345, 0.339999],
    flipped: [0.0012, 0.0013],
    beta: [0.0159577, 1e-5],
    near: [0.117801, 0],
    gamma_mean: [3.10203],
    gamma_max: [7.5],
    input_zero: [0.013],
    input_clipped: [0.00390625],
    collect_ms: 1.5,
    ...change,
  };
}

Deno.test("decodeRecord() reads a ternary record as it was written, on one line", () => {
  for (const one of [record(), record({ flip_rate: null, flip_steps: null, flipped: null })]) {
    const line = encodeRecord(one);
    assertEquals(line.trimEnd().includes("\n"), false);
    assertEquals(decodeRecord(line), one);
  }
});

Deno.test("encodeRecord() writes null for figures of weights that are not finite", () => {
  const line = encodeRecord(record({ beta: [NaN, Infinity], gamma_mean: [NaN] }));
  const { beta, gamma_mean } = decodeRecord(line) as TernaryRecord;
  assertEquals([beta, gamma_mean] as unknown, [[null, null], [null]]);
});

Deno.test("decodeRecord() takes a ternary record that is torn for none", () => {
  assertEquals(decodeRecord(encodeRecord(record()).slice(0, -10)), null);
});

Deno.test("a resumed run's file loses the ternary records that come again", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/metrics.jsonl`;
  {
    using sink = JsonlSink.open(path);
    for (const step of [100, 200, 300]) sink.write(record({ step }));
  }
  {
    using sink = JsonlSink.open(path, { resumeAfter: { step: 200, undone: 0 } });
    sink.write(record({ step: 300, flip_rate: null }));
  }
  const found = await readRecords(path) as TernaryRecord[];
  assertEquals(found.map(({ step, flip_rate }) => [step, flip_rate]), [
    [100, 0.00123457],
    [200, 0.00123457],
    [300, null],
  ]);
  await Deno.remove(folder, { recursive: true });
});
