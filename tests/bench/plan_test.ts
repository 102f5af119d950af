import { assert, assertEquals, assertThrows } from "@std/assert";
import { type BenchPlan, planBench } from "../../lib/bench/plan.ts";
import { GEMM_SHAPES } from "../../lib/bench/kernel_suites.ts";
import { parseCommand, runCommand, UsageError } from "../../lib/cli/command.ts";
import type { DeviceKind } from "../../lib/ffi/library.ts";
import { command } from "../../tasks/bench.ts";

/** What a command line asks for on a machine with and without a card. */
function plan(argv: string, machine: "card" | "no card" = "card"): BenchPlan {
  const backend = (kind: DeviceKind) =>
    kind === "auto" ? machine === "card" ? "cuda" : "cpu" : kind;
  return planBench(parseCommand(command, argv.split(" ").filter((word) => word !== "")), backend);
}

function kernels(argv: string, machine?: "card" | "no card") {
  const found = plan(argv, machine);
  assert(found.suite === "kernels", `suite ${found.suite}`);
  return found.options;
}

Deno.test("planBench() measures training's products on a card, the CPU's suite without one", () => {
  assertEquals(kernels("").suites, ["gemm"]);
  assertEquals(kernels("").shapes.gemm, GEMM_SHAPES);
  assertEquals(kernels("").threads, null);
  const found = plan("", "no card");
  assert(found.suite === "products");
  assertEquals(found.options.threads, [1, 2]);
  assert(found.cases.length > 5);
});

Deno.test("planBench() takes sizes as suite gemm and fills in those that are left out", () => {
  assertEquals(kernels("--m 64 --k 128").shapes.gemm, [{ M: 64, N: 2048, K: 128 }]);
  assertEquals(kernels("--m 2048 --k 2048 --n 2048").shapes.gemm, [{ M: 2048, N: 2048, K: 2048 }]);
  const found = plan("--m 64", "no card");
  assert(found.suite === "products");
  assertEquals(found.cases[0]!.sizes, { rows: 64, columns: 512, depth: 2048 });
  assertEquals(found.cases.length, 5);
});

Deno.test("planBench() runs gemv and attention on both, and every kernel suite by one word", () => {
  assertEquals(kernels("--suite gemv").suites, ["gemv"]);
  assertEquals(kernels("--suite attention --device cpu --threads 2").threads, [2]);
  assertEquals(kernels("--suite kernels --plot a.svg").suites, ["gemm", "gemv", "attention"]);
  assertEquals(kernels("--suite kernels", "no card").suites, ["gemv", "attention"]);
  assertEquals(kernels("--plot a.svg").plot, "a.svg");
});

Deno.test("planBench() decodes on the card without float32, on the CPU with every cache asked for", () => {
  const card = plan("--suite decode");
  assert(card.suite === "decode");
  assertEquals([card.options.threads, card.options.caches], [null, ["bfloat16", "int8"]]);
  const cpu = plan("--suite decode --device cpu --threads 1,3");
  assert(cpu.suite === "decode");
  assertEquals([cpu.options.threads, cpu.options.caches], [[1, 3], [
    "float32",
    "bfloat16",
    "int8",
  ]]);
  assertEquals(plan("--suite data"), { suite: "data" });
});

for (
  const [argv, message] of [
    ["--suite gemv --m 3", "--m is a size of suite gemm: current suite is gemv"],
    ["--suite cpu --device cuda", "suite cpu is measured on the CPU"],
    ["--suite data --device cuda", "suite data is measured on the CPU"],
    ["--suite gemm --threads 2", "--threads is the CPU build's"],
    ["--suite decode --cache float32", "current value of --cache is float32"],
    ["--suite decode --plot a.svg", "current suite is decode"],
    ["--suite gemm --device cpu --plot a.svg", "current suite is gemm on the CPU"],
    ["--suite cpu --plot a.svg", "current suite is cpu"],
    ["--suite data --plot a.svg", "current suite is data"],
    ["--suite gemv --device cpu --plot a.svg", "current value is 1,2, give one"],
    ["--device cpu --threads 1,x", "current value is 1,x"],
    ["--m 0", "at least 1"],
    ["--suite gem", "one of gemm"],
    ["--device gpu", "one of auto, cpu, cuda"],
  ] as const
) {
  Deno.test(`planBench() refuses ${argv}`, () => {
    assertThrows(() => plan(argv), UsageError, message);
  });
}

Deno.test("bench refuses a chart in a folder that is not there, before anything runs", async () => {
  const lines: string[] = [];
  const { error } = console;
  console.error = (line: string) => void lines.push(line);
  try {
    const argv = [
      "--suite",
      "gemv",
      "--device",
      "cpu",
      "--threads",
      "1",
      "--plot",
      "/not/there/a.svg",
    ];
    assertEquals(await runCommand(command, argv), 1);
  } finally {
    console.error = error;
  }
  assertEquals(lines.length, 1);
  assert(lines[0]!.includes("its folder /not/there is missing"), lines[0]);
});
