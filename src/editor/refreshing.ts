import type { Context } from "../context";
import { Disposable } from "../base/disposable";
import { Soon } from "../base/soon";

/** A surface that is shown again when what is known of models has changed. */
export abstract class Refreshing extends Disposable {
  private readonly soon = this.register(new Soon(50, () => { this.refresh(); }));

  constructor(protected readonly context: Context) {
    super();
    this.register(context.models.onDidChange(() => { this.refreshSoon(); }));
  }

  protected abstract refresh(): void;

  protected refreshSoon(): void {
    this.soon.trigger();
  }
}
