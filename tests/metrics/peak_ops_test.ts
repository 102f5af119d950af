import { assertEquals } from "@std/assert";
import { findPeakOps } from "../../lib/metrics/peak_ops.ts";

const CARDS: [device: string, card: string, bf16: number, int8: number | null][] = [
  ["NVIDIA L20", "L20", 119.5e12, 239e12],
  ["NVIDIA L4", "L4", 121e12, 242.5e12],
  ["NVIDIA L40", "L40", 181.05e12, 362e12],
  ["NVIDIA L40S", "L40S", 362.05e12, 733e12],
  ["NVIDIA A10", "A10", 125e12, 250e12],
  ["NVIDIA A100-SXM4-80GB", "A100", 312e12, 624e12],
  ["NVIDIA A100 80GB PCIe", "A100", 312e12, 624e12],
  ["NVIDIA GeForce RTX 3090", "RTX 3090", 71e12, 284e12],
  ["NVIDIA GeForce RTX 4090", "RTX 4090", 165.2e12, 660.6e12],
  ["NVIDIA GeForce RTX 5090", "RTX 5090", 209.5e12, 838e12],
  ["NVIDIA H100 80GB HBM3", "H100 SXM", 989e12, 1979e12],
  ["NVIDIA H100 PCIe", "H100 PCIe", 756e12, 1513e12],
  ["NVIDIA H100 NVL", "H100 NVL", 835e12, null],
  ["NVIDIA H200", "H200 SXM", 989e12, 1979e12],
  ["NVIDIA H200 NVL", "H200 NVL", 836e12, null],
  ["NVIDIA B200", "B200", 2250e12, 4500e12],
];
for (const [device, card, bf16, int8] of CARDS) {
  Deno.test(`findPeakOps() knows ${device}`, () => {
    const peak = findPeakOps(device);
    assertEquals([peak?.card, peak?.bf16, peak?.int8], [card, bf16, int8]);
  });
}

for (
  const device of [
    "NVIDIA H20",
    "NVIDIA A10G",
    "NVIDIA A1000",
    "NVIDIA GH200 480GB",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA GeForce RTX 4090 D",
    "NVIDIA GeForce RTX 3090 Ti",
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "AMD EPYC 9B14",
    "",
  ]
) {
  Deno.test(`findPeakOps() is null when the card is ${device || "nameless"}`, () => {
    assertEquals(findPeakOps(device), null);
  });
}
