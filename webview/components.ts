/** All that the views take from the toolkit, so that a successor is one file away. */
import {
  provideVSCodeDesignSystem, vsCodeButton, vsCodeDataGrid, vsCodeDataGridCell, vsCodeDataGridRow, vsCodeDropdown, vsCodeOption, vsCodeTextField,
  type Button, type DataGrid, type DataGridCell, type DataGridRow, type Dropdown, type Option, type TextField,
} from "@vscode/webview-ui-toolkit";
import { el } from "./dom";

export type { Button, DataGrid, Dropdown, TextField };

declare global {
  interface HTMLElementTagNameMap {
    "vscode-button": Button;
    "vscode-dropdown": Dropdown;
    "vscode-option": Option;
    "vscode-text-field": TextField;
    "vscode-data-grid": DataGrid;
    "vscode-data-grid-row": DataGridRow;
    "vscode-data-grid-cell": DataGridCell;
  }
}

export function registerControls(): void {
  provideVSCodeDesignSystem().register(vsCodeButton(), vsCodeDropdown(), vsCodeOption(), vsCodeTextField());
}

export function registerGrid(): void {
  provideVSCodeDesignSystem().register(vsCodeButton(), vsCodeDataGrid(), vsCodeDataGridRow(), vsCodeDataGridCell());
}

type Attributes = Readonly<Record<string, string | number | boolean>>;

export function button(label: string, pressed: () => void, attributes: Attributes = {}): Button {
  const element = el("vscode-button", { appearance: "secondary", ...attributes }, label);
  element.addEventListener("click", () => {
    if (!element.disabled) pressed();
  });
  return element;
}

/** `entered` is called on Enter alone. */
export function textField(label: string, entered: (text: string) => void, attributes: Attributes = {}): TextField {
  const element = el("vscode-text-field", { "aria-label": label, ...attributes });
  element.addEventListener("keydown", ({ key }) => {
    if (key === "Enter") entered(element.value);
  });
  return element;
}

export interface Choice {
  readonly value: string;
  readonly label: string;
  readonly disabled?: boolean;
}

export function dropdown(label: string, chosen: (value: string) => void, attributes: Attributes = {}): Dropdown {
  const element = el("vscode-dropdown", { "aria-label": label, ...attributes });
  element.addEventListener("change", () => {
    chosen(element.value);
  });
  return element;
}

export function setChoices(element: Dropdown, choices: readonly Choice[], value: string): void {
  const key = JSON.stringify(choices);
  if (element.dataset["choices"] !== key) {
    element.dataset["choices"] = key;
    element.replaceChildren(
      ...choices.map((choice) => el("vscode-option", { value: choice.value, disabled: choice.disabled === true }, choice.label)),
    );
  }
  element.value = value;
}

/** A grid whose first row is its header; the cells are ours. */
export function grid(label: string, columns: string): DataGrid {
  return el("vscode-data-grid", { "aria-label": label, "generate-header": "none", "grid-template-columns": columns });
}

export function gridRow(columns: string, kind: "header" | "default", contents: readonly (string | Node)[]): DataGridRow {
  const row = el("vscode-data-grid-row", { "grid-template-columns": columns, "row-type": kind });
  row.append(
    ...contents.map((content, at) => {
      return el("vscode-data-grid-cell", { "grid-column": at + 1, ...(kind === "header" ? { "cell-type": "columnheader" } : {}) }, content);
    }),
  );
  return row;
}
