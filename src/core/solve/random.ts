import { drop, keep, retain } from "../simulate/schedule";

/** Seeded random numbers (mulberry32): the same seed gives the same plan on every machine. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** For another generator, which goes its own way. */
  seed(): number {
    return this.below(2 ** 32);
  }

  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  /** Any gene, where reaches up to `span` make a difference. */
  gene(span: number): number {
    const dice = this.next();
    return dice < 0.3 ? drop : dice < 0.6 ? keep : this.between(span);
  }

  /** Any gene but this one. */
  otherGene(gene: number, span: number): number {
    const dice = this.next();
    if (gene === keep) return dice < 0.5 ? drop : this.between(span);
    if (gene === drop) return dice < 0.5 ? keep : this.between(span);
    return dice < 0.35 ? drop : dice < 0.7 ? keep : this.between(span);
  }

  /** Held from the first recompute on, or from a later one, with or without forward before: near and far are as likely. */
  private between(span: number): number {
    const dice = this.next();
    if (dice < 0.5) return retain;
    const reach = Math.floor(Math.exp(this.next() * Math.log(span + 1)));
    return dice < 0.75 ? reach : -reach;
  }
}
