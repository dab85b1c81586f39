import { Cancelled } from "../helper/user_error";

/** One piece of work at a time, in the order in which they came: measurements must not disturb each other. */
export class Queue {
  private last: Promise<unknown> = Promise.resolve();
  private waiting = 0;

  /** `onWait` is called when others are before it. What is aborted while it waits never starts. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>, onWait?: () => void): Promise<T> {
    const before = this.last;
    if (this.waiting > 0) onWait?.();
    this.waiting += 1;
    const done = (async () => {
      await turn(before, signal);
      return work();
    })();
    this.last = Promise.allSettled([before, done]).then(() => {
      this.waiting -= 1;
    });
    return done;
  }
}

function turn(before: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      reject(new Cancelled());
    };
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    void before.then(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    });
  });
}

/** What can't be stopped itself is no longer waited for. */
export function unlessStopped<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      reject(new Cancelled());
    };
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    void work.then(resolve, reject).finally(() => {
      signal.removeEventListener("abort", stop);
    });
  });
}

/** Of those that are after the same thing only the newest runs: it stops the one that runs, and those that wait for that are as if cancelled. */
export class Latest {
  private readonly last = new Map<string, Promise<unknown>>();

  async run<T>(key: string, stop: () => Promise<void>, work: () => Promise<T>): Promise<T> {
    const before = this.last.get(key);
    const own: Promise<T> = stop().then(() => before).catch(() => undefined).then(() => {
      if (this.last.get(key) !== own) throw new Cancelled();
      return work();
    });
    this.last.set(key, own);
    try {
      return await own;
    } finally {
      if (this.last.get(key) === own) this.last.delete(key);
    }
  }
}
