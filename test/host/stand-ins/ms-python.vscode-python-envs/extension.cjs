// Answers like the Python Environments extension does: a test sets `answer`, null for "nothing selected".
exports.activate = () => {
  const listeners = new Set();
  const api = {
    answer: null,
    select(path) {
      api.answer = path;
      for (const listener of listeners) listener();
    },
    getEnvironment: async () => (api.answer === null ? undefined : { execInfo: { run: { executable: api.answer } } }),
    onDidChangeEnvironment: (listener) => {
      listeners.add(listener);
      return { dispose: () => listeners.delete(listener) };
    },
  };
  return api;
};
