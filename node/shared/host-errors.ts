/** A script that collects errors must not collect the host's memory: of more than this the earliest are let go, but the latest stays however large it is. */
const MOST = 1000;
const MOST_CHARACTERS = 1 << 20;

/** What lies behind an error: how many causes, one behind the other, and the characters of their messages. */
export interface Behind {
  readonly causes: number;
  readonly characters: number;
}

export const nothingBehind: Behind = { causes: 0, characters: 0 };

/** More causes than there can be where each run inside another one adds its own: a script can catch an error and raise it again without an end. */
const MOST_CAUSES = 64;

interface Entry<T> {
  readonly thing: T;
  /** With what lies behind it. */
  readonly characters: number;
  readonly behind: Behind;
}

/** What lies behind an error that this one causes, or null when that is too much. */
export function behindCause({ behind: { causes }, characters }: Entry<unknown>): Behind | null {
  return causes < MOST_CAUSES && (causes === 0 || characters <= MOST_CHARACTERS) ? { causes: causes + 1, characters } : null;
}

/** What host functions threw in a run, by number from 1 on. A number is given once in a run. */
export class HostErrors<T> {
  #list: Entry<T>[] = [];
  #characters = 0;
  /** How many came before those in the list. */
  #gone = 0;

  keep(thing: T, ownCharacters: number, behind = nothingBehind): number {
    const characters = ownCharacters + behind.characters;
    this.#list.push({ thing, characters, behind });
    this.#characters += characters;
    while (this.#list.length > 1 && (this.#list.length > MOST || this.#characters > MOST_CHARACTERS)) {
      this.#characters -= this.#list.shift()!.characters;
      this.#gone++;
    }
    return this.last;
  }

  /** The number that was given last. */
  get last(): number {
    return this.#gone + this.#list.length;
  }

  /** Begins for a run that has given this number last, elsewhere: what it knows by earlier ones isn't here. */
  beginAfter(last: number): void {
    this.clear();
    this.#gone = last;
  }

  get(number: number): Entry<T> | undefined {
    return this.#list[number - this.#gone - 1];
  }

  clear(): void {
    if (this.last === 0) return;
    this.#list = [];
    this.#characters = this.#gone = 0;
  }
}
