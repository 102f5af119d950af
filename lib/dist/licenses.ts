/**
 * The licences of everything that a release holds besides TitanBit.
 *
 * @module
 */

import { join } from "@std/path";

const LICENSE_FILE = /^(licen[sc]e|copying)(\.(md|txt))?$/i;

const MIT =
  `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

const RUNTIMES = `Deno ${Deno.version.deno} (bin/deno), MIT

Copyright 2018-2026 the Deno authors

${MIT}

----

libgomp.so.1 (app/build), the OpenMP runtime of GCC: GPL version 3 with the GCC Runtime Library Exception 3.1,
unchanged from this system's compiler; source: the gcc releases of the GNU project. Where clang built the
library, libomp.so.5 takes its place, the OpenMP runtime of LLVM: Apache-2.0 WITH LLVM-exception.`;

/**
 * One text with the licence of each npm package, of Deno and of the OpenMP runtime.
 *
 * `packages` gives name and version by folder, relative to `root` or absolute. A package whose folder holds no licence
 * file is listed with the one that its package.json names; one that names none is an error.
 */
export async function collectLicenses(
  root: string,
  packages: ReadonlyMap<string, string>,
): Promise<string> {
  const sorted = [...packages].sort(([, a], [, b]) => a < b ? -1 : 1);
  const texts = await Promise.all(sorted.map(async ([folder, name]) => {
    const path = folder.startsWith("/") ? folder : join(root, folder);
    const { license } = JSON.parse(await Deno.readTextFile(join(path, "package.json")));
    if (typeof license !== "string") {
      throw new Error(`Cannot pack npm package ${name} as its package.json names no licence`);
    }
    return `${name}, ${license}\n\n${await licenseText(path)}`.trim();
  }));
  return `${[RUNTIMES, ...texts].join("\n\n----\n\n")}\n`;
}

async function licenseText(folder: string): Promise<string> {
  for await (const { name } of Deno.readDir(folder)) {
    if (LICENSE_FILE.test(name)) return await Deno.readTextFile(join(folder, name));
  }
  return "";
}
