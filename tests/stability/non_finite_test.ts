import { assertEquals } from "@std/assert";
import { NonFinitePolicy } from "../../lib/stability/non_finite.ts";

const GOOD = { loss: 2, gradNorm: 1 };
const BAD = { loss: NaN, gradNorm: NaN };

function decisions(policy: NonFinitePolicy, steps: { loss: number; gradNorm: number }[]): string[] {
  return steps.map((step) => policy.judge(step));
}

Deno.test("judge() continues when loss and grad norm are finite", () => {
  const policy = new NonFinitePolicy({ onNonFinite: "stop", maxConsecutiveSkips: 0 });
  assertEquals(policy.judge(GOOD), "continue");
});

Deno.test("judge() stops at the first step that is not finite when onNonFinite is stop", () => {
  const policy = new NonFinitePolicy({ onNonFinite: "stop", maxConsecutiveSkips: 9 });
  assertEquals(policy.judge({ loss: Infinity, gradNorm: 1 }), "stop");
});

Deno.test("judge() looks at the grad norm when the loss is finite", () => {
  const policy = new NonFinitePolicy({ onNonFinite: "skip", maxConsecutiveSkips: 9 });
  assertEquals(policy.judge({ loss: 2, gradNorm: Infinity }), "skip");
});

Deno.test("judge() stops when more steps in a row are skipped than allowed", () => {
  const policy = new NonFinitePolicy({ onNonFinite: "skip", maxConsecutiveSkips: 2 });
  assertEquals(decisions(policy, [BAD, BAD, BAD]), ["skip", "skip", "stop"]);
});

Deno.test("judge() counts skips anew when a good step comes between", () => {
  const policy = new NonFinitePolicy({ onNonFinite: "skip", maxConsecutiveSkips: 1 });
  assertEquals(decisions(policy, [BAD, GOOD, BAD, BAD]), ["skip", "continue", "skip", "stop"]);
});

Deno.test("judge() goes on counting when a run is resumed", () => {
  const policy = new NonFinitePolicy({ onNonFinite: "skip", maxConsecutiveSkips: 2 }, 2);
  assertEquals(policy.judge(BAD), "stop");
});
