/** Where a Python can come from. Each source is one small class; the first that answers wins. No editor is needed to test them. */
import type * as vscode from "vscode";
import type { Interpreter } from "../helper/interpreter";
import { UserError } from "../helper/user_error";

export interface PythonSource {
  readonly name: string;
  /** Null where this source has nothing to say. */
  find(uri: vscode.Uri): Promise<Interpreter | null>;
  /** The command that lets the person choose another one; null where there is none. */
  readonly picker: string | null;
}

/** What is asked of the editor. */
export interface Extensions {
  /** The exports of an extension, activated; null where it is not installed. */
  api(id: string): Promise<unknown>;
  has(id: string): boolean;
}

abstract class FromExtension implements PythonSource {
  abstract readonly name: string;
  protected abstract readonly id: string;
  protected abstract readonly command: string;
  private exports: unknown = null;

  constructor(private readonly extensions: Extensions) {}

  get picker(): string | null {
    return this.extensions.has(this.id) ? this.command : null;
  }

  async find(uri: vscode.Uri): Promise<Interpreter | null> {
    this.exports ??= await this.extensions.api(this.id);
    if (typeof this.exports !== "object" || this.exports === null) return null;
    const path = await this.ask(this.exports, uri);
    return path === null || path === "" ? null : { path, foundBy: this.name };
  }

  protected abstract ask(exports: object, uri: vscode.Uri): Promise<string | null>;
}

/** `ms-python.vscode-python-envs`. */
export class PythonEnvironments extends FromExtension {
  readonly name = "the Python Environments extension";
  protected readonly id = "ms-python.vscode-python-envs";
  protected readonly command = "python-envs.set";

  protected async ask(exports: object, uri: vscode.Uri): Promise<string | null> {
    const { getEnvironment } = exports as { getEnvironment?: (scope: vscode.Uri) => Promise<{ execInfo?: { run?: { executable?: string } } } | undefined> };
    const found = await getEnvironment?.call(exports, uri);
    return found?.execInfo?.run?.executable ?? null;
  }
}

interface Environments {
  getActiveEnvironmentPath?: (uri: vscode.Uri) => { readonly id: string; readonly path: string };
  resolveEnvironment?: (path: { readonly id: string; readonly path: string }) => Promise<{ executable?: { uri?: { fsPath: string } } } | undefined>;
}

/** `ms-python.python`. */
export class PythonExtension extends FromExtension {
  readonly name = "the Python extension";
  protected readonly id = "ms-python.python";
  protected readonly command = "python.setInterpreter";

  protected async ask(exports: object, uri: vscode.Uri): Promise<string | null> {
    const environments = environmentsOf(exports);
    const active = environments?.getActiveEnvironmentPath?.(uri);
    if (environments === null || active === undefined) return null;
    const resolved = await environments.resolveEnvironment?.(active);
    return resolved?.executable?.uri?.fsPath ?? null;
  }
}

const environmentsOf = (exports: object): Environments | null => (exports as { environments?: Environments }).environments ?? null;

/** The setting, and what the command line would take: both without asking another extension. */
export class FoundPython implements PythonSource {
  readonly picker = null;

  constructor(
    readonly name: string,
    private readonly look: (uri: vscode.Uri) => Interpreter | null,
  ) {}

  find(uri: vscode.Uri): Promise<Interpreter | null> {
    return new Promise((resolve) => {
      resolve(this.look(uri));
    });
  }
}

/** An extension that fails is passed over; a sentence about what the person named themselves is not. */
export async function firstPython(sources: readonly PythonSource[], uri: vscode.Uri, failed: (source: PythonSource, error: unknown) => void): Promise<Interpreter> {
  for (const source of sources) {
    try {
      const found = await source.find(uri);
      if (found !== null) return found;
    } catch (error) {
      if (error instanceof UserError) throw error;
      failed(source, error);
    }
  }
  throw new UserError("M702", "environment", "No Python was found: install Python 3.10 or newer with torch.", { known: { id: "no-python" } });
}
