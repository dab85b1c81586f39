import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";

/** A document that can't be used, as one sentence that says where. */
export class DocumentError extends Error {
  override readonly name = "DocumentError";
  readonly path: string;
  constructor(path: string, problem: string) {
    super(path === "" ? problem : `${path}: ${problem}`);
    this.path = path;
  }
}

const ajv = new Ajv({ allErrors: false, strict: true, strictRequired: false, allowUnionTypes: true });
const compiled = new Map<object, ValidateFunction>();

/**
 * Checks the shape of a document against its schema. Format and version come first, so that
 * some other file is called that instead of lacking a field.
 */
export function readDocument(document: unknown, schema: { properties: { format: { const: string }; version: { const: number } } }, what: string): unknown {
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw new DocumentError("", `this is not a ${what}: it is no JSON object`);
  }
  const { format, version } = document as { format?: unknown; version?: unknown };
  const expected = schema.properties;
  if (format !== expected.format.const) {
    const found = typeof format === "string" ? `'${format}'` : "none";
    throw new DocumentError("", `this is not a ${what}: format is ${found}, expected '${expected.format.const}'`);
  }
  if (version !== expected.version.const) {
    throw new DocumentError("", `this ${what} has version ${JSON.stringify(version)}; this release reads version ${expected.version.const}`);
  }
  let validate = compiled.get(schema);
  if (validate === undefined) {
    validate = ajv.compile(schema);
    compiled.set(schema, validate);
  }
  if (!validate(document)) throw asSentence(validate.errors?.[0], what);
  return document;
}

function asSentence(error: ErrorObject | undefined, what: string): DocumentError {
  if (error === undefined) return new DocumentError("", `this is not a valid ${what}`);
  const path = error.instancePath
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((before, step) => (/^\d+$/.test(step) ? `${before}[${step}]` : before === "" ? step : `${before}.${step}`), "");
  const allowed = (error.params as { allowedValues?: unknown[] }).allowedValues;
  const detail = allowed === undefined ? "" : ` (${allowed.map(String).join(", ")})`;
  return new DocumentError(path, `${error.message ?? "is not valid"}${detail}`);
}
