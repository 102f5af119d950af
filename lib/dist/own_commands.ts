/**
 * What a packed program says of itself: `titanbit train`, where the source tree says `deno task train`.
 *
 * @module
 */

/** `deno task` and what follows it: a command, a placeholder of the help, or the place where code puts one. */
const TREE_COMMAND = /\bdeno task (?=[a-z-]+\b|NAME\b|COMMAND\b|\$\{)/g;

/** These work only where there is a source tree, and so their name is that of the source tree. */
const TREE_ONLY = /^(?:compile|dist|quickstart|test|ok)\b/;

/** Writes the packed program's commands for the source tree's, in code or in a text. */
export function nameOwnCommands(text: string): string {
  return text.replace(
    TREE_COMMAND,
    (found, at: number) => TREE_ONLY.test(text.slice(at + found.length)) ? found : "titanbit ",
  );
}
