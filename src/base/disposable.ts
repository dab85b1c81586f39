interface Disposes {
  dispose(): unknown;
}

/** Owns what it registers, and disposes it with itself, last first. */
export class Disposable {
  private readonly owned: Disposes[] = [];
  private disposed = false;

  get isDisposed(): boolean {
    return this.disposed;
  }

  protected register<T extends Disposes>(thing: T): T {
    if (this.disposed) thing.dispose();
    else this.owned.push(thing);
    return thing;
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    for (const thing of this.owned.reverse()) thing.dispose();
    this.owned.length = 0;
  }
}
