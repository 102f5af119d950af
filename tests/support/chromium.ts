/** A headless Chromium, driven over its DevTools protocol. */

import { join } from "@std/path";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** Name of an installed Chromium that may be run, or null. */
export async function findChromium(): Promise<string | null> {
  for (const name of NAMES) {
    const { state } = await Deno.permissions.query({ name: "run", command: name });
    if (state !== "granted") continue;
    try {
      const { success } = await new Deno.Command(name, { args: ["--version"], stderr: "null" })
        .output();
      if (success) return name;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return null;
}

type Params = Record<string, unknown>;
interface Message {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: Params;
  readonly result?: Params;
  readonly error?: { message: string };
}

/** A browser with a profile of its own, ended and deleted when disposed of. */
export class Browser implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (message: Message) => void>();
  readonly #pages = new Map<string, Page>();
  #lastId = 0;

  private constructor(process: Deno.ChildProcess, profile: string, socket: WebSocket) {
    this.#process = process;
    this.#profile = profile;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
  }

  static async launch(name: string): Promise<Browser> {
    const profile = await Deno.makeTempDir({ prefix: "titanbit_chromium_" });
    const process = new Deno.Command(name, {
      args: [
        ...["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        ...["--no-first-run", "--disable-extensions", "--disable-background-networking"],
        ...["--hide-scrollbars", "--remote-debugging-port=0", `--user-data-dir=${profile}`],
        "about:blank",
      ],
      env: { HOME: profile },
      stdout: "null",
      stderr: "null",
    }).spawn();
    const port = await until(async () => {
      const text = await Deno.readTextFile(join(profile, "DevToolsActivePort")).catch(() => "");
      return text.includes("\n") ? text.trim().split("\n") : null;
    }, "the browser to start");
    const socket = new WebSocket(`ws://127.0.0.1:${port[0]}${port[1]}`);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    return new Browser(process, profile, socket);
  }

  /** Opens a page of a size, with a colour scheme. */
  async open(
    url: string,
    options: { width?: number; height?: number; dark?: boolean; phone?: boolean } = {},
  ): Promise<Page> {
    const { width = 1280, height = 900, dark = false, phone = false } = options;
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, String(sessionId));
    this.#pages.set(String(sessionId), page);
    for (const domain of ["Page", "Runtime", "Log"]) await page.send(`${domain}.enable`);
    await page.send("Emulation.setDeviceMetricsOverride", {
      ...{ width, height, deviceScaleFactor: phone ? 2 : 1, mobile: phone },
    });
    await page.send("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }],
    });
    await page.send("Page.navigate", { url });
    return page;
  }

  /** Sends a command and waits for its answer. */
  async send(method: string, params: Params = {}, sessionId?: string): Promise<Params> {
    const id = ++this.#lastId;
    const answer = new Promise<Message>((resolve) => this.#waiting.set(id, resolve));
    this.#socket.send(JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) }));
    const { result, error } = await answer;
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result ?? {};
  }

  #take(message: Message): void {
    if (message.id === undefined) this.#pages.get(message.sessionId ?? "")?.take(message);
    else this.#waiting.get(message.id)?.(message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.onclose = resolve);
    await this.send("Browser.close");
    await closed;
    await this.#process.status;
    await Deno.remove(this.#profile, { recursive: true }).catch(() => {});
  }
}

/** A tab. */
export class Page {
  /** What went wrong on it: errors and warnings of the console, exceptions, refused or failed requests. */
  readonly problems: string[] = [];
  readonly #browser: Browser;
  readonly #session: string;

  constructor(browser: Browser, session: string) {
    this.#browser = browser;
    this.#session = session;
  }

  send(method: string, params: Params = {}): Promise<Params> {
    return this.#browser.send(method, params, this.#session);
  }

  /** Takes what the page's tab tells. */
  take({ method, params }: Message): void {
    const given = params as {
      type?: string;
      args?: { value?: unknown; description?: string }[];
      exceptionDetails?: { text: string; exception?: { description?: string } };
      entry?: { level: string; text: string; url?: string };
    };
    if (method === "Runtime.consoleAPICalled" && ["error", "warning"].includes(given.type!)) {
      this.problems.push(given.args!.map((one) => one.value ?? one.description).join(" "));
    }
    if (method === "Runtime.exceptionThrown") {
      const { text, exception } = given.exceptionDetails!;
      this.problems.push(exception?.description ?? text);
    }
    if (method === "Log.entryAdded" && given.entry!.level === "error") {
      this.problems.push(`${given.entry!.text} ${given.entry!.url ?? ""}`);
    }
  }

  /** Value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      ...{ expression, awaitPromise: true, returnByValue: true },
    }) as { result: { value: T }; exceptionDetails?: { exception?: { description?: string } } };
    if (exceptionDetails !== undefined) {
      throw new Error(exceptionDetails.exception?.description ?? "the expression threw");
    }
    return result.value;
  }

  /** Waits until an expression is true. */
  async until(expression: string): Promise<void> {
    await until(
      async () => await this.evaluate<boolean>(`Boolean(${expression})`) || null,
      () => `${expression}; problems: ${JSON.stringify(this.problems)}`,
    );
  }

  /** The page as PNG: what is seen, or with `full` all of it. */
  async screenshot(options: { full?: boolean } = {}): Promise<Uint8Array> {
    const { data } = await this.send("Page.captureScreenshot", {
      captureBeyondViewport: options.full === true,
    });
    return Uint8Array.from(atob(String(data)), (letter) => letter.charCodeAt(0));
  }
}

/** Waits, up to ten seconds, until `look` finds something. */
export async function until<T>(
  look: () => Promise<T | null> | T | null,
  what: string | (() => string),
): Promise<T> {
  const end = Date.now() + 10_000;
  while (true) {
    const found = await look();
    if (found !== null) return found;
    if (Date.now() > end) {
      throw new Error(`Waited in vain for ${typeof what === "string" ? what : what()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
