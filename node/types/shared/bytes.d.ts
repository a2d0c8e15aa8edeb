/** Text as UTF-8. */
export declare const utf8: (text: string) => Uint8Array;
/** Whether every surrogate has its partner, so that the text can be UTF-8. */
export declare function isWellFormed(text: string): boolean;
/** Refuses text that UTF-8 can't say: it would arrive as something else. */
export declare function checkText(text: string): string;
/** The text that these bytes are, or null when they are not UTF-8. */
export declare function textOf(bytes: Uint8Array, start?: number, end?: number): string | null;
/** Grows as it is written to. */
export declare class Writer {
    bytes: Uint8Array<ArrayBuffer>;
    view: DataView<ArrayBuffer>;
    length: number;
    reserve(n: number): void;
    u8(n: number): void;
    u32(n: number): void;
    /** A byte and a float. */
    f64(tag: number, n: number): void;
    i64(n: bigint): void;
    /** A byte and a safe integer as i64. */
    integer(tag: number, n: number): void;
    raw(bytes: Uint8Array): void;
    /** Length and UTF-8. */
    text(text: string): void;
    /** What was written, as a view that the next write may change. */
    get written(): Uint8Array;
}
export declare const malformed: (what: string) => Error;
/** Reads bytes from front to back; every length is checked against what is there. */
export declare class Reader {
    #private;
    at: number;
    readonly bytes: Uint8Array;
    constructor(bytes: Uint8Array);
    get left(): number;
    u8(): number;
    u32(): number;
    f64(): number;
    i64(): bigint;
    /** An i64 as a number when that is exact. */
    integer(): number | bigint;
    /** A view of the next bytes. */
    take(n: number): Uint8Array;
    /** A length and as many bytes, as a view. */
    counted(): Uint8Array;
    /** A length and as many bytes: text when they are UTF-8, else a copy. */
    string(): string | Uint8Array;
    /** As `string`, for what is likely to come again. */
    name(): string | Uint8Array;
}
