/** One question at a time, as VS Code asks them: with step numbers and a way back. */
import * as vscode from "vscode";

export const back = Symbol("back");
/** Null: the person left. */
export type Answer<T> = T | typeof back | null;

interface Question {
  readonly title: string;
  readonly step?: number;
  readonly steps?: number;
  readonly canGoBack: boolean;
}

interface TextQuestion extends Question {
  readonly value: string;
  readonly prompt: string;
  readonly placeholder?: string;
  /** What is wrong with the text; null where nothing is. */
  readonly check: (text: string) => string | null;
}

function prepare(input: vscode.InputBox | vscode.QuickPick<vscode.QuickPickItem>, { title, step, steps, canGoBack }: Question): void {
  input.title = title;
  input.step = step;
  input.totalSteps = steps;
  input.ignoreFocusOut = true;
  input.buttons = canGoBack ? [vscode.QuickInputButtons.Back] : [];
}

export function askText(question: TextQuestion): Promise<Answer<string>> {
  const input = vscode.window.createInputBox();
  prepare(input, question);
  input.value = question.value;
  input.prompt = question.prompt;
  input.placeholder = question.placeholder;
  const check = (): boolean => {
    const wrong = question.check(input.value);
    input.validationMessage = wrong ?? undefined;
    return wrong === null;
  };
  input.onDidChangeValue(check);
  return answered(input, () => (check() ? input.value.trim() : undefined));
}

export function choose<T extends vscode.QuickPickItem>(items: readonly T[], question: Question & { readonly placeholder?: string; readonly active?: T | undefined }): Promise<Answer<T>> {
  const input = vscode.window.createQuickPick<T>();
  prepare(input, question);
  input.items = items;
  input.placeholder = question.placeholder;
  input.matchOnDescription = true;
  if (question.active !== undefined) input.activeItems = [question.active];
  return answered(input, () => input.selectedItems[0]);
}

/** Shows it until it is answered; `accepted` gives nothing where it stays open. */
function answered<T>(input: vscode.InputBox | vscode.QuickPick<vscode.QuickPickItem>, accepted: () => T | undefined): Promise<Answer<T>> {
  return new Promise((resolve) => {
    const close = (answer: Answer<T>): void => {
      resolve(answer);
      input.hide();
    };
    input.onDidAccept(() => {
      const answer = accepted();
      if (answer !== undefined) close(answer);
    });
    input.onDidTriggerButton(() => { close(back); });
    input.onDidHide(() => {
      resolve(null);
      input.dispose();
    });
    input.show();
  });
}
