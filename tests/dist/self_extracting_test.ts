import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { writeSelfExtracting } from "../../lib/dist/self_extracting.ts";

const USER = Deno.statSync(new URL(import.meta.url)).uid;

// In the place of Deno stands a script that says how it was started; what is tested is the way there.
const RUNTIME = `#!/bin/sh
if [ "$1" = --version ]; then echo >>"\${XDG_CACHE_HOME:-$TMPDIR}/unpacked"; exit 0; fi
while [ "\${1#-}" != "$1" ] || [ "$1" = run ]; do shift; done
shift # The program.
case $1 in
  exit) exit "$2" ;;
  wait) trap 'echo terminated; exit 7' TERM; echo waiting $$; for _ in $(seq 400); do sleep 0.05; done ;;
  read) cat ;;
  *) pwd; for word; do printf '[%s]' "$word"; done ;;
esac
`;

/** An executable that holds {@linkcode RUNTIME}, in a folder of the test's own. */
async function pack(options: { runtime?: string } = {}): Promise<string> {
  const root = await Deno.makeTempDir({ prefix: "titanbit self extracting " });
  const folder = join(root, "titanbit-1.2.3-linux-test");
  for (const name of ["bin", "app"]) {
    await Deno.mkdir(join(folder, name), { recursive: true });
  }
  await Deno.writeTextFile(join(folder, "bin/deno"), options.runtime ?? RUNTIME, { mode: 0o755 });
  await Deno.writeTextFile(join(folder, "app/titanbit.js"), "// The program.\n");
  // Random bytes, so that the archive is long enough to be interrupted.
  const bytes = new Uint8Array(4 << 20);
  for (let at = 0; at < bytes.length; at += 1 << 16) {
    crypto.getRandomValues(bytes.subarray(at, at + (1 << 16)));
  }
  await Deno.writeFile(join(folder, "app/data"), bytes);
  const release = { folder, version: "1.2.3", needs: "a test" };
  await writeSelfExtracting(release, { output: join(root, "titanbit"), packed: () => {} });
  await Deno.remove(folder, { recursive: true });
  return root;
}

/** Runs a shell line in `cwd`, with `$T` the executable and `$C` a cache folder beside it. */
async function shell(root: string, line: string) {
  const at = (name: string) => join(root, name);
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", line],
    cwd: root,
    env: {
      T: at("titanbit"),
      C: at("cache"),
      XDG_CACHE_HOME: at("cache"),
      HOME: at("home"),
      TMPDIR: at("tmp"),
    },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** What lies in the cache, apart from the lock. */
function cached(root: string, cache = "cache/titanbit"): string[] {
  return [...Deno.readDirSync(join(root, cache))].map(({ name }) => name)
    .filter((name) => name !== "lock").sort();
}

function testPacked(name: string, run: (root: string) => Promise<void>, runtime?: string) {
  Deno.test(`a self-extracting executable ${name}`, async () => {
    const root = await pack(runtime === undefined ? {} : { runtime });
    try {
      await run(root);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  });
}

testPacked(
  "passes arguments, standard input, the working directory and exit codes through",
  async (root) => {
    const words = await shell(
      root,
      `mkdir "a b"; cd "a b"; "$T" train "two words" "" "it's" '*' "$(printf 'a\\nb')"`,
    );
    assertEquals(words, {
      code: 0,
      stdout: `${join(root, "a b")}\n[train][two words][][it's][*][a\nb]`,
      stderr: "",
    });
    assertEquals((await shell(root, "echo text | ./titanbit read")).stdout, "text\n");
    assertEquals((await shell(root, 'PATH="$PWD:$PATH"; cd /; titanbit exit 3')).code, 3);
    assertEquals((await shell(root, 'ln -s "$T" link; cd /; "$C/../link" exit 130')).code, 130);
    assertEquals(cached(root).length, 1);
  },
);

testPacked("becomes the program, so that signals reach it", async (root) => {
  const { stdout, code } = await shell(
    root,
    '"$T" wait >out & until [ -s out ]; do sleep 0.05; done; kill $!; wait $!; code=$?; cat out; echo $!; exit $code',
  );
  const [, pid, after] = /^waiting (\d+)\nterminated\n(\d+)\n$/.exec(stdout) ?? [];
  assertEquals([code, pid], [7, after], stdout);
});

testPacked("unpacks once when several start at once", async (root) => {
  const started = Array.from({ length: 8 }, (_, i) => shell(root, `"$T" exit ${i}`));
  assertEquals((await Promise.all(started)).map(({ code }) => code), [0, 1, 2, 3, 4, 5, 6, 7]);
  const [name, ...others] = cached(root);
  assertEquals(others, []);
  assertMatch(name!, /^1\.2\.3-[0-9a-f]{16}$/);
  assertEquals(await Deno.readTextFile(join(root, "cache/unpacked")), "\n");
  // Nobody wrote into the folder of another one.
  assertEquals(cached(root, `cache/titanbit/${name}`), ["app", "bin"]);
});

testPacked(
  "unpacks again what is incomplete, and clears away what a killed one left",
  async (root) => {
    await shell(root, '"$T" exit 0');
    const [name] = cached(root);
    const data = join(root, "cache/titanbit", name!, "app/data");
    for (const harm of [() => Deno.truncate(data, 1000), () => Deno.remove(data)]) {
      await harm();
      await Deno.mkdir(join(root, "cache/titanbit", `${name}.tmp-123456`));
      assertEquals((await shell(root, '"$T" exit 5')).code, 5);
      assertEquals([cached(root), (await Deno.stat(data)).size], [[name], 4 << 20]);
    }
  },
);

testPacked("is never run from an unpacking that was interrupted", async (root) => {
  let killed = 0;
  for (let delay = 0.005; delay < 0.1; delay *= 1.3) {
    // With everything that it started.
    const line = `setsid "$T" exit 3 & sleep ${delay}; kill -9 -$!; wait $!`;
    if ((await shell(root, line)).code === 137) killed++;
    assertEquals((await shell(root, '"$T" exit 5')).code, 5);
    assertEquals(cached(root).length, 1);
    await Deno.remove(join(root, "cache"), { recursive: true });
  }
  assert(killed > 2, `${killed} were killed before they had ended`);
});

testPacked(
  "says that it is damaged when its bytes are not those that were packed",
  async (root) => {
    const bytes = await Deno.readFile(join(root, "titanbit"));
    bytes[bytes.length - 1000]! ^= 1;
    await Deno.writeFile(join(root, "titanbit"), bytes);
    const flipped = await shell(root, '"$T" exit 0');
    assertEquals([flipped.code, cached(root)], [1, []]);
    assertMatch(
      flipped.stderr,
      /^error: Cannot unpack \S.* as the SHA-256 of its archive must be [0-9a-f]{64}: current/,
    );
    await Deno.truncate(join(root, "titanbit"), bytes.length / 2);
    assertStringIncludes((await shell(root, '"$T" exit 0')).stderr, "get the file again");
  },
);

testPacked(
  "takes HOME's cache, then a temporary folder, when XDG_CACHE_HOME names none",
  async (root) => {
    const home = await shell(
      root,
      'mkdir home; env -i HOME="$PWD/home" XDG_CACHE_HOME=relative "$T" exit 3',
    );
    assertEquals([home.code, cached(root, "home/.cache/titanbit").length], [3, 1]);
    const temporary = `tmp/titanbit-${USER}`;
    const none = await shell(root, 'mkdir tmp; env -i TMPDIR="$PWD/tmp" "$T" exit 4');
    assertEquals([none.code, cached(root, temporary).length], [4, 1]);
    assertEquals(Deno.statSync(join(root, temporary)).mode! & 0o777, 0o700);
  },
);

testPacked("passes over a folder that is not its user's own", async (root) => {
  const others = ['mkdir -m 777 "$C/titanbit"', 'mkdir -m 770 own; ln -s "$PWD/own" "$C/titanbit"'];
  if (USER === 0) {
    others.push('mkdir "$C/titanbit"; chown 65534 "$C/titanbit"');
    others.push('mkdir own; ln -s "$PWD/own" "$C/titanbit"; chown -h 65534 "$C/titanbit"');
  } else console.error("SKIPPED: folders and links of other users: only root can make some");
  for (const prepare of others) {
    const { code } = await shell(root, `mkdir "$C"; ${prepare}; "$T" exit 3`);
    assertEquals([code, cached(root, "home/.cache/titanbit").length], [3, 1], prepare);
    assertEquals(cached(root), [], prepare);
    await shell(root, 'rm -rf "$C" home own');
  }
});

testPacked("says what its runtime needs when that does not start", async (root) => {
  const { code, stderr } = await shell(root, '"$T" exit 0');
  assertEquals([code, cached(root)], [1, []]);
  assertStringIncludes(
    stderr,
    "error: Cannot start titanbit as its runtime does not run here: no loader; it needs a test",
  );
}, "#!/bin/sh\necho no loader >&2\nexit 127\n");

const mounts = await (async () => {
  const { success } = await new Deno.Command("sh", {
    args: ["-c", "unshare -m sh -c 'mount -t tmpfs none /mnt' 2>/dev/null"],
  }).output();
  if (!success) {
    console.error(
      "SKIPPED: cache folders on read-only, noexec and full file systems: this user can't mount any",
    );
  }
  return success;
})();

if (mounts) {
  testPacked("goes to the next folder when one is read-only, noexec or full", async (root) => {
    for (const options of ["ro", "noexec", "size=1m"]) {
      const { code, stdout, stderr } = await shell(
        root,
        `
        mkdir -p home tmp "$C"; unshare -m sh -c '
          mount -t tmpfs -o ${options} none "$C" && "$T" exit 5; code=$?
          ls "$C/titanbit" 2>/dev/null; exit $code'`,
      );
      assertEquals([code, stderr, stdout.replace("lock\n", "")], [5, "", ""], options);
      assertEquals(cached(root, "home/.cache/titanbit").length, 1);
      await Deno.remove(join(root, "home"), { recursive: true });
    }
  });

  testPacked("names each folder and what is wrong with it when none will do", async (root) => {
    const { code, stderr } = await shell(
      root,
      `
      mkdir -p home tmp "$C"; unshare -m sh -c '
        mount -t tmpfs -o ro none "$C"; mount -t tmpfs -o noexec none home
        mount -t tmpfs -o size=1m none tmp; mount -t tmpfs -o ro none /var/tmp
        "$T" exit 5'`,
    );
    assertEquals(code, 1);
    assertMatch(
      stderr,
      /^error: Cannot start titanbit as one of these folders must hold it unpacked:\n/,
    );
    for (
      const line of [
        `  ${root}/cache/titanbit: Read-only file system\n`,
        `  ${root}/home/.cache/titanbit: programs may not run there (noexec)\n`,
        `  ${root}/tmp/titanbit-${USER}: `,
        `  /var/tmp/titanbit-${USER}: Read-only file system\n`,
        "Set XDG_CACHE_HOME to a folder of yours that programs may run in, with 5 MiB free\n",
      ]
    ) assertStringIncludes(stderr, line);
    assert(/tmp\/titanbit-\d+: .*(No space left on device|Wrote only)/.test(stderr), stderr);
  });

  testPacked(
    "unpacks elsewhere when the file system of its cache no longer runs programs",
    async (root) => {
      const { code } = await shell(
        root,
        `
      "$T" exit 0; unshare -m sh -c '
        mount --bind "$C" "$C" && mount -o remount,bind,noexec "$C" && "$T" exit 6'`,
      );
      assertEquals([code, cached(root, "home/.cache/titanbit").length], [6, 1]);
    },
  );
}
