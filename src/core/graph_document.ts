import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";

/** A document that can't be used, as one sentence that says where; `code` is its row in docs/errors.md. */
export class DocumentError extends Error {
  override readonly name = "DocumentError";
  readonly path: string;
  /** Names and indices that lead there; known where the shape is at fault. */
  readonly steps: readonly string[];
  constructor(readonly code: string, path: string, problem: string, steps: readonly string[] = []) {
    super(path === "" ? problem : `${path}: ${problem}`);
    this.path = path;
    this.steps = steps;
  }
}

const ajv = new Ajv({ allErrors: false, strict: true, strictRequired: false, allowUnionTypes: true, verbose: true });
// What an editor shows of a schema, beside what it checks.
ajv.addVocabulary(["defaultSnippets", "patternErrorMessage"]);
const compiled = new Map<object, ValidateFunction>();

/**
 * Checks the shape of a document against its schema. Format and version come first, so that
 * some other file is called that instead of lacking a field.
 */
export function readDocument(document: unknown, schema: { properties: { format: { const: string }; version: { const: number } } }, what: string): unknown {
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw new DocumentError("M502", "", `this is not a ${what}: it is no JSON object`);
  }
  const { format, version } = document as { format?: unknown; version?: unknown };
  const expected = schema.properties;
  if (format !== expected.format.const) {
    const found = typeof format === "string" ? `'${format}'` : "none";
    throw new DocumentError("M502", "", `this is not a ${what}: format is ${found}, expected '${expected.format.const}'`);
  }
  if (version !== expected.version.const) {
    throw new DocumentError("M503", "", `this ${what} has version ${JSON.stringify(version)}; this release reads version ${expected.version.const}`);
  }
  return checkShape(document, schema, what);
}

/** Checks the shape alone, of a document that has no format of ours. */
export function checkShape(document: unknown, schema: object, what: string): unknown {
  let validate = compiled.get(schema);
  if (validate === undefined) {
    validate = ajv.compile(schema);
    compiled.set(schema, validate);
  }
  if (!validate(document)) throw asSentence(validate.errors?.[0], what);
  return document;
}

function asSentence(error: ErrorObject | undefined, what: string): DocumentError {
  if (error === undefined) return new DocumentError("M504", "", `this is not a valid ${what}`);
  const steps = error.instancePath
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  const path = steps.reduce((before, step) => (/^\d+$/.test(step) ? `${before}[${step}]` : before === "" ? step : `${before}.${step}`), "");
  const { allowedValues, additionalProperty, propertyName } = error.params as { allowedValues?: unknown[]; additionalProperty?: string; propertyName?: string };
  const advice = (error.parentSchema as { patternErrorMessage?: string } | undefined)?.patternErrorMessage;
  const message = (error.keyword === "pattern" ? advice : undefined) ?? error.message ?? "is not valid";
  const at = additionalProperty ?? propertyName ?? error.propertyName;
  const detail = allowedValues?.map(String).join(", ") ?? at;
  return new DocumentError("M504", path, `${message}${detail === undefined ? "" : ` (${detail})`}`, at === undefined ? steps : [...steps, at]);
}
