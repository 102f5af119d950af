import { assertEquals } from "@std/assert";
import { StopTexts } from "../../lib/inference/stop_texts.ts";

/** The text that comes through, piece by piece, and whether it was stopped. */
function through(stops: string[], pieces: string[]): { pieces: string[]; stopped: boolean } {
  const texts = new StopTexts(stops);
  const out: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = texts.push(piece);
    out.push(text);
    if (stopped) return { pieces: out, stopped };
  }
  out.push(texts.flush());
  return { pieces: out, stopped: false };
}

Deno.test("StopTexts lets a text through at once when there is nothing to stop at", () => {
  assertEquals(through([], ["a", "b"]), { pieces: ["a", "b", ""], stopped: false });
});

Deno.test("StopTexts holds back what may begin a stop text, and no more", () => {
  assertEquals(through(["abc"], ["xab", "abd", "ab"]), {
    pieces: ["x", "ababd".slice(0, 5), "", "ab"],
    stopped: false,
  });
});

Deno.test("StopTexts stops before the earliest stop text, however pieces are cut", () => {
  const text = "one two. three\n\nfour";
  for (let cut = 1; cut < text.length; cut++) {
    const { pieces, stopped } = through(["\n\n", "three"], [text.slice(0, cut), text.slice(cut)]);
    assertEquals([pieces.join(""), stopped], ["one two. ", true], `cut at ${cut}`);
  }
});

Deno.test("StopTexts finds a stop text whose beginning repeats", () => {
  assertEquals(through(["aab"], ["aa", "a", "b"]), { pieces: ["", "a", ""], stopped: true });
});
