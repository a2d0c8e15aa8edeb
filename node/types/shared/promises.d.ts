/** Whether it is something to wait for. */
export declare const isThenable: (value: unknown) => value is PromiseLike<unknown>;
/** Nobody will hear of its failure. */
export declare const abandon: (promise: PromiseLike<unknown>) => void;
/** What was asked for at once. A promise is no answer. */
export declare function atOnce<T>(answer: T, what: string): T;
