/** A person at a VS Code: a server, a browser, folders to open. */
import { cp, mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { chromium, type Browser } from "playwright-core";
import { installation, root } from "./installation";
import { Server, type ServerOptions } from "./server";
import { Window } from "./window";

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export class Editor {
  private readonly folders: string[] = [];
  private readonly opened: Window[] = [];

  private constructor(
    readonly server: Server,
    private readonly browser: Browser,
  ) {}

  static async start(options: Partial<ServerOptions> = {}): Promise<Editor> {
    const server = await Server.start(options);
    try {
      return new Editor(server, await chromium.launch({ executablePath: installation.browser, args: flags }));
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** A new folder, in a path with blanks, with copies of files of this project. */
  async folder(...files: readonly string[]): Promise<string> {
    const parent = await realpath(await mkdtemp(join(tmpdir(), "monet e2e ")));
    this.folders.push(parent);
    const folder = join(parent, "my models");
    await mkdir(folder);
    for (const file of files) await cp(join(root, file), join(folder, basename(file)), { recursive: true });
    return folder;
  }

  /** A workspace of several folders. */
  async workspace(folders: readonly string[]): Promise<string> {
    const file = join(this.server.folder, "several.code-workspace");
    await writeFile(file, JSON.stringify({ folders: folders.map((path, at) => ({ path, name: `models ${at + 1}` })) }));
    return file;
  }

  /** A window in which nothing is open yet. */
  async window(size = { width: 1440, height: 900 }): Promise<Window> {
    const context = await this.browser.newContext({ viewport: size, locale: "en-US", permissions: ["clipboard-read", "clipboard-write"] });
    context.setDefaultTimeout(15_000);
    const window = new Window(await context.newPage(), this.server);
    this.opened.push(window);
    return window;
  }

  /** Those that are open. */
  get windows(): readonly Window[] {
    return this.opened.filter(({ page }) => !page.isClosed());
  }

  async open(place: string): Promise<Window> {
    const window = await this.window();
    await window.load(place);
    return window;
  }

  async close(): Promise<void> {
    await this.browser.close();
    await this.server.close();
    for (const folder of this.folders) await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
