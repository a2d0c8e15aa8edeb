/** What host functions threw in a run, by number from 1 on. A number is given once in a run. */
export declare class Kept<T> {
    #private;
    keep(thing: T, characters: number): number;
    get(number: number): {
        thing: T;
    } | undefined;
    clear(): void;
}
