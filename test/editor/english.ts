/** The editor's texts as they stand in the source. */
export const l10n = {
  t: (text: string, ...values: readonly unknown[]): string => text.replaceAll(/\{(\d+)\}/g, (_, at: string) => String(values[Number(at)])),
};
