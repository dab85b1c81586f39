/** code-server with a profile of its own, which is gone when it is closed. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import { installation, root, vsix } from "./installation";

export type Settings = Readonly<Record<string, unknown>>;

export interface ServerOptions {
  /** False: folders are not trusted until a person says so. */
  readonly trusted: boolean;
  /** False leaves out the packed extension. */
  readonly extension: boolean;
  /** Folders of other extensions, named by their identifiers. */
  readonly others: readonly string[];
  readonly settings: Settings;
  /** Added to the environment of the extension host; undefined takes a variable away. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

const quiet: Settings = {
  "chat.disableAIFeatures": true,
  "editor.hover.delay": 100,
  "extensions.ignoreRecommendations": true,
  "git.enabled": false,
  "security.workspace.trust.banner": "never",
  "security.workspace.trust.startupPrompt": "never",
  "remote.autoForwardPorts": false,
  "telemetry.telemetryLevel": "off",
  "terminal.integrated.shellIntegration.enabled": false,
  "window.confirmBeforeClose": "never",
  "workbench.reduceMotion": "on",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.startupEditor": "none",
  "workbench.tips.enabled": false,
};

/** Runs a program until it ends, or until the other end of our standard input is gone, however that came about. */
const mortal = 'exec 3<&0; "$0" "$@" </dev/null & child=$!; { read -r _ <&3; kill $child; } & watch=$!; wait $child; kill $watch 2>/dev/null';

export class Server {
  private constructor(
    readonly url: string,
    /** Of this server alone. */
    readonly folder: string,
    private readonly process: ChildProcess,
    private readonly output: readonly string[],
  ) {}

  static async start({ trusted = true, extension = true, others = [], settings = {}, env = {} }: Partial<ServerOptions> = {}): Promise<Server> {
    const folder = await realpath(await mkdtemp(join(tmpdir(), "monet-editor-")));
    const environment: NodeJS.ProcessEnv = {
      ...process.env,
      HOME: join(folder, "home"),
      EXTENSIONS_GALLERY: '{"serviceUrl":""}',
      MONET_PYTHON: installation.python,
      PYTHONPATH: undefined,
      // What was measured once is not measured again in the next run.
      XDG_CACHE_HOME: join(root, ".vscode-test", "cache"),
      ...env,
    };
    await mkdir(join(folder, "home"));
    const places = ["--user-data-dir", join(folder, "data"), "--extensions-dir", join(folder, "extensions"), "--config", join(folder, "config.yaml")];
    await writeSettings(folder, { ...quiet, ...settings });
    await writeFile(join(folder, "config.yaml"), "");
    // Those that lie there when the folder is first read are installed.
    for (const other of others) await cp(other, join(folder, "extensions", `${basename(other)}-1.0.0`), { recursive: true });
    if (extension) await promisify(execFile)(installation.node, [installation.server, ...places, "--install-extension", vsix], { env: environment });

    const port = await freePort();
    const quietly = ["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"];
    const args = [installation.server, "--auth", "none", "--bind-addr", `127.0.0.1:${port}`, ...quietly, ...(trusted ? ["--disable-workspace-trust"] : []), ...places];
    const child = spawn("sh", ["-c", mortal, installation.node, ...args], { env: environment, stdio: ["pipe", "pipe", "pipe"] });
    const output: string[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => output.push(chunk.toString()));
    const server = new Server(`http://127.0.0.1:${port}`, folder, child, output);
    await server.ready();
    return server;
  }

  private async ready(): Promise<void> {
    for (let attempt = 0; attempt < 300; attempt++) {
      if (this.process.exitCode !== null) throw new Error(`code-server ended: ${this.output.join("")}`);
      const answer = await fetch(`${this.url}/healthz`).catch(() => null);
      if (answer?.ok === true) return;
      await sleep(100);
    }
    throw new Error(`code-server did not answer in 30 s: ${this.output.join("")}`);
  }

  async close(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const ended = once(this.process, "exit");
      this.process.stdin?.end();
      const stubborn = setTimeout(() => this.process.kill("SIGKILL"), 10_000);
      await ended;
      clearTimeout(stubborn);
    }
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

async function writeSettings(folder: string, settings: Settings): Promise<void> {
  const user = join(folder, "data", "User");
  await mkdir(user, { recursive: true });
  await writeFile(join(user, "settings.json"), JSON.stringify(settings, null, 2));
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}
