/** Passes on the slider's budgets, at most one each 50 ms and the last one always. */
const pause = 50;
/** How long the host may take to say a budget back. */
const patience = 1000;

export class Sender {
  private moved: { readonly bytes: number; readonly at: number } | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private waiting: number | null = null;

  constructor(private readonly send: (bytes: number) => void) {}

  move(bytes: number): void {
    this.moved = { bytes, at: performance.now() };
    this.waiting = bytes;
    if (this.timer === undefined) this.flush();
  }

  /** What the view shows: what the person chose last, until the host's states have caught up with it. */
  current(told: number): number {
    if (this.moved !== null && (this.moved.bytes === told || performance.now() - this.moved.at > patience)) this.moved = null;
    return this.moved?.bytes ?? told;
  }

  forget(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.waiting = null;
    this.moved = null;
  }

  private flush(): void {
    this.timer = undefined;
    if (this.waiting === null) return;
    this.send(this.waiting);
    this.waiting = null;
    this.timer = setTimeout(() => { this.flush(); }, pause);
  }
}
