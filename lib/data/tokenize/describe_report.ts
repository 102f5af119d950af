/**
 * What a run did, for people.
 *
 * @module
 */
import type { SourceListing } from "../text/source_files.ts";
import type { TokenizeReport } from "./tokenize_corpus.ts";

const PROBLEMS_SHOWN = 10;

/** A few lines on the files written, the speed, and everything that was left out. */
export function describeReport(report: TokenizeReport, source: SourceListing): string {
  const lines = report.files.map(({ path, tokens, documents, split }) => {
    const what = split === "train" ? "" : " held out";
    return `${path}: ${count(tokens, "token")}, ${count(documents, "document")}${what}`;
  });
  const rate = report.textBytes / 1e6 / report.seconds;
  const perToken = report.tokens === 0 ? 0 : report.textBytes / report.tokens;
  lines.push(
    `${(report.textBytes / 1e6).toFixed(1)} MB of text in ${report.seconds.toFixed(1)} s, ${
      rate.toFixed(1)
    } MB/s, ${perToken.toFixed(2)} bytes a token`,
  );
  if (report.replaced > 0) {
    lines.push(`replaced ${count(report.replaced, "invalid UTF-8 sequence")} by U+FFFD`);
  }
  if (report.empty > 0) lines.push(`left out ${count(report.empty, "empty document")}`);
  if (source.leftOut.length > 0) {
    lines.push(
      `left out ${count(source.leftOut.length, "file")} of other kinds, such as ${
        source.leftOut[0]
      }`,
    );
  }
  if (report.problems > 0) {
    lines.push(`left out ${count(report.problems, "bad record")}:`);
    const shown = report.problemTexts.slice(0, PROBLEMS_SHOWN);
    lines.push(...shown.map((text) => `  ${text}`));
    if (report.problems > shown.length) lines.push(`  and ${report.problems - shown.length} more`);
  }
  return lines.join("\n");
}

function count(value: number, what: string): string {
  return `${value.toLocaleString("en-US")} ${what}${value === 1 ? "" : "s"}`;
}
