/** What lies behind an error: how many causes, one behind the other, and the characters of their messages. */
export interface Behind {
    readonly causes: number;
    readonly characters: number;
}
export declare const nothingBehind: Behind;
interface Entry<T> {
    readonly thing: T;
    /** With what lies behind it. */
    readonly characters: number;
    readonly behind: Behind;
}
/** What lies behind an error that this one causes, or null when that is too much. */
export declare function behindCause({ behind: { causes }, characters }: Entry<unknown>): Behind | null;
/** What host functions threw in a run, by number from 1 on. A number is given once in a run. */
export declare class HostErrors<T> {
    #private;
    keep(thing: T, ownCharacters: number, behind?: Behind): number;
    /** The number that was given last. */
    get last(): number;
    /** Begins for a run that has given this number last, elsewhere: what it knows by earlier ones isn't here. */
    beginAfter(last: number): void;
    get(number: number): Entry<T> | undefined;
    clear(): void;
}
export {};
