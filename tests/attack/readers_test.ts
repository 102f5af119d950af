import { attack, describeFinding } from "./attack.ts";
import { READERS } from "./readers.ts";

for (const reader of READERS) {
  Deno.test(`${reader.name}: the inputs that mutations begin with are read`, () => {
    for (const seed of reader.seeds) reader.read(seed);
  });

  Deno.test(`${reader.name}: 10,000 mutations throw documented errors alone`, () => {
    const finding = attack(reader, { from: 1, count: 10_000 });
    if (finding !== null) throw new Error(describeFinding(finding));
  });
}
