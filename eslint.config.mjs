import { builtinModules } from "node:module";
import tseslint from "typescript-eslint";

const noIo = ["vscode", "node:*", ...builtinModules];

/** Imports point down the floors of DESIGN.md, never back up. */
const forbid = (patterns, message) => ({
  "no-restricted-imports": ["error", { patterns: [{ group: patterns, message }] }],
});

export default tseslint.config(
  { ignores: ["dist/", ".cache/", ".vscode-test/", "node_modules/", ".venv/", "coverage/", "python/", "examples/", "**/.monet/"] },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "no-console": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/consistent-type-definitions": ["error", "interface"],
      "@typescript-eslint/explicit-module-boundary-types": "error",
      "eqeqeq": "error",
    },
  },
  {
    files: ["src/core/**/*.ts"],
    rules: forbid(
      [...noIo, "**/solver/**", "**/helper/**", "**/cli/**", "**/sources/**", "**/actions/**", "**/editor/**", "**/views/**"],
      "core is pure: no editor, no Node, no I/O; take what you need as an argument.",
    ),
  },
  {
    files: ["src/solver/**/*.ts", "src/helper/**/*.ts", "src/sources/**/*.ts"],
    rules: forbid(["vscode", "**/cli/**", "**/actions/**", "**/editor/**", "**/views/**"], "Imports point down the floors, never back up."),
  },
  { files: ["src/cli/**/*.ts"], rules: forbid(["vscode", "**/actions/**", "**/editor/**", "**/views/**"], "The command line runs without an editor.") },
  { files: ["src/actions/**/*.ts", "src/editor/**/*.ts", "src/views/**/*.ts"], rules: forbid(["**/cli/**"], "The editor runs without the command line.") },
  {
    files: ["webview/**/*.ts"],
    ignores: ["webview/components.ts"],
    rules: forbid(
      [...noIo, "@vscode/webview-ui-toolkit", "**/solver/**", "**/helper/**", "**/cli/**", "**/editor/**", "**/views/**"],
      "A webview knows its host by messages alone, and the toolkit by webview/components.ts alone.",
    ),
  },
  { files: ["test/**/*.ts"], rules: { "@typescript-eslint/no-non-null-assertion": "off" } },
);
