/** How long the rest takes, from how long the part before took. */
export class Pace {
  private stage = "";
  private since = 0;
  private from = 0;

  /** Milliseconds left of this stage; null while that can't be told. */
  left(stage: string, done: number, total: number, now: number): number | null {
    if (stage !== this.stage || done < this.from) {
      this.stage = stage;
      this.since = now;
      this.from = done;
    }
    const steps = done - this.from;
    const elapsed = now - this.since;
    if (steps < 3 || elapsed < 1000) return null;
    return (elapsed / steps) * Math.max(0, total - done);
  }
}
