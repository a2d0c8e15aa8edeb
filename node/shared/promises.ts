/** Whether it is something to wait for. */
export const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';

/** Nobody will hear of its failure. */
export const abandon = (promise: PromiseLike<unknown>): void => void new Promise((resolve) => resolve(promise)).catch(() => {});

/** What was asked for at once. A promise is no answer. */
export function atOnce<T>(answer: T, what: string): T {
  if (!isThenable(answer)) return answer;
  abandon(answer);
  throw new TypeError(`${what} returned a promise, which can't be waited for`);
}
