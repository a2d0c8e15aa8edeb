// Installs the packages that the build, the tests and the benchmark need, when the lock file says others than are
// there.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const node = dirname(dirname(fileURLToPath(import.meta.url)));
const lock = readFileSync(join(node, 'package-lock.json'), 'utf8');
const stamp = join(node, 'node_modules', '.installed.json');
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lock) {
  // Not `npm ci`: in a lock file without addresses npm leaves out the optional packages of other platforms, and then
  // misses them.
  execFileSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: node, stdio: ['ignore', 2, 2] });
  writeFileSync(stamp, lock);
}
