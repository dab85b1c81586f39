// Answers like the Python Environments extension does: a test sets `answer`, null for "nothing selected".
exports.activate = () => {
  const api = {
    answer: null,
    select(path) {
      api.answer = path;
    },
    getEnvironment: async () => (api.answer === null ? undefined : { execInfo: { run: { executable: api.answer } } }),
  };
  return api;
};
