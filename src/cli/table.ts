/** Plain text in columns, aligned by the eye's width of each cell. */
export interface Column {
  readonly title: string;
  readonly right?: boolean;
}

export function table(columns: readonly Column[], rows: readonly (readonly string[])[], indent = ""): string {
  const lines = [columns.map(({ title }) => title), ...rows];
  const widths = columns.map((_, k) => Math.max(...lines.map((line) => width(line[k] ?? ""))));
  const format = (line: readonly string[]): string => {
    const cells = columns.map(({ right }, k) => {
      const cell = line[k] ?? "";
      const space = " ".repeat((widths[k] ?? 0) - width(cell));
      return right === true ? space + cell : cell + space;
    });
    return (indent + cells.join("  ")).trimEnd();
  };
  const hasTitles = columns.some(({ title }) => title !== "");
  return (hasTitles ? lines : rows).map(format).join("\n");
}

/** Lines of so many columns at most, unless a word is longer; each begins with the indent. */
export function wrapped(text: string, columns: number, indent: string): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1) ?? indent} ${word}`;
    if (lines.length > 0 && width(longer) <= columns) lines[lines.length - 1] = longer;
    else lines.push(indent + word);
  }
  return lines.join("\n");
}

function width(text: string): number {
  return Array.from(text).length;
}

export const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;
