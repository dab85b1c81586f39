// Answers like the Python extension does: a test sets `answer`, null for "nothing selected".
exports.activate = () => {
  const listeners = new Set();
  const api = {
    answer: null,
    select(path) {
      api.answer = path;
      for (const listener of listeners) listener();
    },
    environments: {
      getActiveEnvironmentPath: () => ({ id: "stand-in", path: api.answer ?? "python" }),
      resolveEnvironment: async () => (api.answer === null ? undefined : { executable: { uri: { fsPath: api.answer } } }),
      onDidChangeActiveEnvironmentPath: (listener) => {
        listeners.add(listener);
        return { dispose: () => listeners.delete(listener) };
      },
    },
  };
  return api;
};
