/** What is known of Python source without running it. Lines and UTF-16 columns start at 0; ends are exclusive. */

export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface Range {
  readonly start: Position;
  readonly end: Position;
}

export interface ModelRef {
  readonly file: string;
  readonly name: string;
}

/**
 * A place in the source where a layer is made. One place can make many layers (a loop, a factory that is called
 * for several stages), so it has several module path patterns: dotted, relative to its model, `*` for any text
 * within a segment (`blocks.*`, `layer*.conv`).
 */
export interface Layer {
  readonly file: string;
  readonly range: Range;
  /** The text that names it (`self.conv1`), where it has a name of its own. */
  readonly nameRange: Range | null;
  readonly paths: readonly string[];
  /** Short type, as people say it (`Conv2d`); null when the source doesn't tell. */
  readonly type: string | null;
  readonly container: boolean;
  /** The classes of the workspace that it can be an instance of. */
  readonly models: readonly ModelRef[];
}

/**
 * A call of a layer, or of a function of torch, in `forward` or in a method that `forward` calls; or an expression that
 * a statement there computes, which has what no call within it has (`x + y`, `score.softmax(-1)`).
 */
export interface Call {
  readonly file: string;
  readonly range: Range;
  /** The method in which it stands. */
  readonly method: string;
  /** Module path pattern of the layer, or null for a function. */
  readonly path: string | null;
  /** Full name of the function (`torch.nn.functional.relu`), or the expression's text; null for a layer. */
  readonly name: string | null;
}

/** A guess at what the model takes, from its first layer. */
export interface InputHint {
  readonly kind: "image" | "tokens" | "features";
  /** An input specification that the command line takes, with a small batch. */
  readonly spec: string;
}

export interface Model {
  readonly file: string;
  /** Qualified with the names of the classes around it (`Outer.Inner`). */
  readonly name: string;
  readonly range: Range;
  readonly nameRange: Range;
  readonly bases: readonly string[];
  /** Its own layers and those of base classes in the workspace, in order of source. */
  readonly layers: readonly Layer[];
  readonly calls: readonly Call[];
  readonly forward: Range | null;
  /** The methods that run in forward, with the file in which they stand (a base class may be elsewhere). */
  readonly methods: readonly { readonly file: string; readonly range: Range }[];
  readonly input: InputHint | null;
}

/** A function, or an object at the top of a file, that gives a model; an entry function gives inputs and loss with it. */
export interface ModelSource {
  readonly kind: "function" | "object" | "entry";
  readonly name: string;
  readonly range: Range;
  readonly models: readonly ModelRef[];
}

export interface SourceFile {
  readonly path: string;
  readonly models: readonly Model[];
  readonly sources: readonly ModelSource[];
}
