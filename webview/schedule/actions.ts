import type { Description } from "./texts";

/** What pointer and keyboard ask of the panel. */
export interface Actions {
  /** The person chose this bar: its why, and its line in the editor. */
  openBar(bar: number): void;
  /** The person chose this step: its operator's line, and its first bar. */
  openStep(step: number): void;
  /** False where nothing was open. */
  close(): boolean;
  /** Numbers beside a place of the window; null: none. */
  tell(description: Description | null, x?: number, y?: number): void;
}
