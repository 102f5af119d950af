import { assertEquals } from "@std/assert";
import { keysUnder, SECTIONS } from "../../lib/config/schema.ts";

const TEXT = await Deno.readTextFile(new URL("../../docs/config.md", import.meta.url));

for (const section of SECTIONS) {
  Deno.test(`docs/config.md has a row for each key of ${section} and for no other`, () => {
    const part = TEXT.split(`\n## ${section}\n`)[1]?.split("\n## ")[0] ?? "";
    const documented = [...part.matchAll(/^\| `([a-z_.]+)` *\|/gm)].map(([, key]) => key);
    const keys = keysUnder(section)!.flatMap((key) => [
      key,
      ...(keysUnder(`${section}.${key}`) ?? []).map((inner) => `${key}.${inner}`),
    ]);
    assertEquals(documented.toSorted(), keys.toSorted());
  });
}
