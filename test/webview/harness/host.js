// Stands in for the extension host: remembers what the view posts, and answers what a test tells it to.
window.posted = [];
window.answers = {};
window.acquireVsCodeApi = () => ({
  postMessage(message) {
    window.posted.push(message);
    window.answers[message.kind]?.(message);
  },
  getState: () => JSON.parse(sessionStorage.getItem("state") ?? "null"),
  setState(state) { sessionStorage.setItem("state", JSON.stringify(state)); },
});
window.tell = (message) => { window.postMessage(message, window.origin); };
