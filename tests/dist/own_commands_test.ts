import { assertEquals } from "@std/assert";
import { nameOwnCommands } from "../../lib/dist/own_commands.ts";

Deno.test("nameOwnCommands() names the packed program's commands, in code and in texts", () => {
  assertEquals(
    nameOwnCommands(
      "see `deno task train --help`; `Usage: deno task ${name}`; deno task fetch-corpus; " +
        "`deno task NAME --help`",
    ),
    "see `titanbit train --help`; `Usage: titanbit ${name}`; titanbit fetch-corpus; " +
      "`titanbit NAME --help`",
  );
});

Deno.test("nameOwnCommands() leaves what only a source tree can do", () => {
  const text = "run `deno task compile` in the source tree; Deno tasks; `deno task quickstart`";
  assertEquals(nameOwnCommands(text), text);
});
