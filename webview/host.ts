/** The extension host behind this view: messages both ways, and what is remembered while the view is hidden. */
interface Api {
  postMessage(message: unknown): void;
  getState(): unknown;
  setState(state: unknown): void;
}

declare function acquireVsCodeApi(): Api;

export class Host<Received, Sent> {
  private readonly api = acquireVsCodeApi();

  constructor(isReceived: (message: unknown) => message is Received, receive: (message: Received) => void) {
    window.addEventListener("message", ({ data, origin }: MessageEvent<unknown>) => {
      if (origin === window.origin && isReceived(data)) receive(data);
    });
  }

  post(message: Sent): void {
    this.api.postMessage(message);
  }

  get remembered(): unknown {
    return this.api.getState();
  }

  remember(state: object): void {
    this.api.setState(state);
  }
}
