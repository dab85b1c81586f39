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

  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  /** Any gene, where reaches up to `span` make a difference. */
  gene(span: number): number {
    const dice = this.below(3);
    return dice === 0 ? drop : dice === 1 ? keep : this.reach(span);
  }

  /** Any gene but this one. */
  otherGene(gene: number, span: number): number {
    const dice = this.next();
    if (gene === keep) return dice < 0.5 ? drop : this.reach(span);
    if (gene === drop) return dice < 0.5 ? keep : this.reach(span);
    return dice < 0.35 ? drop : dice < 0.7 ? keep : this.reach(span);
  }

  /** Held from the first recompute on, or from a later one: near and far are as likely. */
  private reach(span: number): number {
    return this.next() < 0.5 ? retain : Math.floor(Math.exp(this.next() * Math.log(span + 1)));
  }
}
