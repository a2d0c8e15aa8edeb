/** Longer ways are cut in the middle. */
const SHOWN = 12;

const isName = (text: string): boolean => /^[A-Za-z_][A-Za-z0-9_]{0,59}$/.test(text);

function step(key: unknown): string {
  if (typeof key === 'string') return isName(key) ? `.${key}` : `[${JSON.stringify(key.slice(0, 60))}]`;
  if (key instanceof Uint8Array) return '["..."]';
  return typeof key === 'object' && key !== null ? '[table]' : `[${String(key)}]`;
}

/** Where in a value something is, for messages: `root.name[1]["odd key"]`. */
export function pathText(root: string, keys: readonly unknown[]): string {
  if (keys.length <= SHOWN) return root + keys.map(step).join('');
  const half = SHOWN / 2;
  return `${root}${keys.slice(0, half).map(step).join('')}...${keys.slice(-half).map(step).join('')}`;
}
