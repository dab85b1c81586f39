/** What a command needs from the world, so that tests can give it another one. */
export interface Io {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly errIsTerminal: boolean;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Folders of this installation: bundles with their wasm files, and the Python package. */
  readonly dist: string;
  readonly packages: string;
}
