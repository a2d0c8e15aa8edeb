/** A script that collects errors must not collect the host's memory: of more than this the earliest are let go, but the latest stays however large it is. */
const MOST = 1000;
const MOST_CHARACTERS = 1 << 20;

/** What host functions threw in a run, by number from 1 on. A number is given once in a run. */
export class Kept<T> {
  #list: { thing: T; characters: number }[] = [];
  #characters = 0;
  /** How many came before those in the list. */
  #gone = 0;

  keep(thing: T, characters: number): number {
    this.#list.push({ thing, characters });
    this.#characters += characters;
    while (this.#list.length > 1 && (this.#list.length > MOST || this.#characters > MOST_CHARACTERS)) {
      this.#characters -= this.#list.shift()!.characters;
      this.#gone++;
    }
    return this.#gone + this.#list.length;
  }

  get(number: number): { thing: T } | undefined {
    return this.#list[number - this.#gone - 1];
  }

  clear(): void {
    if (this.#list.length === 0) return;
    this.#list = [];
    this.#characters = this.#gone = 0;
  }
}
