import type { Progress } from "../helper/helper";
import type { Io } from "./io";

const stages: Readonly<Record<string, string>> = { trace: "Tracing", profile: "Profiling", solve: "Planning" };

const capitalized = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

/** Milliseconds between two lines where nobody watches one. */
const pace = 10_000;

/** On a terminal one line that is written over; elsewhere, as in a file, a line every ten seconds, so that short commands leave none. */
export class ProgressLine {
  private shown = false;
  private last = 0;
  private latest = "Starting";
  private readonly began = Date.now();
  private readonly telling: NodeJS.Timeout | undefined;

  constructor(private readonly io: Io) {
    if (!io.errIsTerminal) this.telling = setInterval(() => { this.tell(); }, pace).unref();
  }

  readonly show = ({ stage, done, total, operator }: Progress): void => {
    const now = Date.now();
    if (this.io.errIsTerminal && done < total && now - this.last < 50) return;
    this.last = now;
    const name = stages[stage] ?? capitalized(stage);
    const count = total > 0 ? ` ${done} of ${total}` : "";
    this.latest = `${name}${count}${operator === null || operator === "" ? "" : `  ${operator}`}`;
    if (!this.io.errIsTerminal) return;
    this.io.err(`\r\u001b[K${this.latest.slice(0, 78)}`);
    this.shown = true;
  };

  /** Also where the latest stage is silent for long. */
  private tell(): void {
    this.io.err(`${this.latest} (${Math.round((Date.now() - this.began) / 1000)} s)\n`);
  }

  clear(): void {
    clearInterval(this.telling);
    if (this.shown) this.io.err("\r\u001b[K");
    this.shown = false;
  }
}
