/**
 * Measures the native library's ops beside their rivals.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { runDataSuite } from "../lib/bench/data_suite.ts";
import { runDecodeSuite } from "../lib/bench/decode_suite.ts";
import { runKernelSuites } from "../lib/bench/kernel_run.ts";
import { FLAGS, planBench } from "../lib/bench/plan.ts";
import { runProductSuite } from "../lib/bench/product_suite.ts";
import { type Command, main } from "../lib/cli/command.ts";

/** `bench`. */
export const command: Command = {
  name: "bench",
  summary: "measure kernels beside their rivals",
  description:
    "Every result is checked in FP64 before it is timed; rivals take turns in one process; times are\n" +
    "medians, ± half the distance between the quartiles.\n" +
    "On a card times are of its own events around recorded graphs of several launches, over operands\n" +
    "that rotate through more than twice the L2, beside cuBLASLt in bfloat16, half precision, FP8 and int8\n" +
    "where it is installed: `x BF16` above 1 is faster than its bfloat16 product of the same shape, `% of\n" +
    "limit` is held to the lesser of the card's published peak and its memory, measured by a copy.\n" +
    "On the CPU products stand beside OpenBLAS's sgemm. Attention has no rival in this process:\n" +
    "tests/reference/torch_attention.py measures PyTorch's.",
  flags: FLAGS,
  examples: [
    "deno task bench",
    "deno task bench --m 2048 --k 2048 --n 2048",
    "deno task bench --device cuda --suite kernels --plot roofline.svg",
    "deno task bench --suite gemv --json",
    "deno task bench --suite cpu",
    "deno task bench --suite data",
    "deno task bench --suite decode --device cpu --size 1.3B --threads 2 --repeat 5",
    "deno task bench --suite gemm --device cpu --m 64 --n 5632 --k 2048 --threads 2",
  ],
  async run(args) {
    const plan = planBench(args);
    if (plan.suite === "data") await runDataSuite(fromFileUrl(new URL("..", import.meta.url)));
    else if (plan.suite === "decode") runDecodeSuite(plan.options);
    else if (plan.suite === "products") await runProductSuite(plan.cases, plan.options);
    else runKernelSuites(plan.options);
  },
};

if (import.meta.main) await main(command);
