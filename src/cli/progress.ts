import type { Progress } from "../helper/helper";
import type { Io } from "./io";

const stages: Readonly<Record<string, string>> = { trace: "Tracing", profile: "Profiling", solve: "Planning" };

const capitalized = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

/** One line that is written over, on a terminal; elsewhere nothing. */
export class ProgressLine {
  private shown = false;
  private last = 0;

  constructor(private readonly io: Io) {}

  readonly show = ({ stage, done, total, operator }: Progress): void => {
    if (!this.io.errIsTerminal) return;
    const now = Date.now();
    if (done < total && now - this.last < 50) return;
    this.last = now;
    const name = stages[stage] ?? capitalized(stage);
    const count = total > 0 ? ` ${done} of ${total}` : "";
    this.io.err(`\r\u001b[K${`${name}${count}${operator === null || operator === "" ? "" : `  ${operator}`}`.slice(0, 78)}`);
    this.shown = true;
  };

  clear(): void {
    if (this.shown) this.io.err("\r\u001b[K");
    this.shown = false;
  }
}
