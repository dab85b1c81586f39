import { Ajv, type JSONSchemaType } from "ajv";

/** A file that is not what it is read as. The message is one sentence that names the file. */
export class FileError extends Error {
  override name = "FileError";
}

const ajv = new Ajv({ strictTypes: false });

/** JSON of which `schema` and then `flaw` find nothing wrong; `flaw` says what is, in a few words. */
export function readDocument<T>(text: string, file: string, what: string, schema: object, flaw: (document: T) => string | null = () => null): T {
  const refuse = (why: string): never => {
    throw new FileError(`${file} is no ${what}: ${why}.`);
  };
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return refuse("it is not JSON");
  }
  const validate = ajv.compile<T>(schema as JSONSchemaType<T>);
  if (!validate(document)) {
    const { instancePath = "", message = "is wrong" } = validate.errors?.[0] ?? {};
    return refuse(`${instancePath === "" ? "the document" : instancePath.slice(1).replaceAll("/", ".")} ${message}`);
  }
  const wrong = flaw(document);
  return wrong === null ? document : refuse(wrong);
}

export const integers = { type: "array", items: { type: "integer", minimum: 0 } };
export const lists = { type: "array", items: integers };
