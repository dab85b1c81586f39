// Answers like the Python extension does: a test sets `answer`, null for "nothing selected".
exports.activate = () => {
  const api = {
    answer: null,
    select(path) {
      api.answer = path;
    },
    environments: {
      getActiveEnvironmentPath: () => ({ id: "stand-in", path: api.answer ?? "python" }),
      resolveEnvironment: async () => (api.answer === null ? undefined : { executable: { uri: { fsPath: api.answer } } }),
    },
  };
  return api;
};
