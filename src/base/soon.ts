import { Disposable } from "./disposable";

/** Many triggers, one run: some time after the first, or with `quiet` after the last. */
export class Soon extends Disposable {
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly milliseconds: number,
    private readonly run: () => void,
    private readonly when: "first" | "quiet" = "first",
  ) {
    super();
  }

  trigger(): void {
    if (this.isDisposed || (this.timer !== undefined && this.when === "first")) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.run();
    }, this.milliseconds);
  }

  override dispose(): void {
    clearTimeout(this.timer);
    super.dispose();
  }
}
