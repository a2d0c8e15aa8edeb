// What `cargo xtask test node` and `agent` run: installs what is missing, builds, and runs all tests of a folder, by default
// those of the package.
// With CI=true, generated files that differ from the committed ones are a failure.

import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const node = dirname(dirname(fileURLToPath(import.meta.url)));
const run = (program, ...args) => execFileSync(program, args, { cwd: node, stdio: ['ignore', 2, 2] });

run(process.execPath, 'tools/install.mjs');
const generated = ['native.js', 'native.d.ts'];
const before = generated.map((name) => readFileSync(join(node, name), 'utf8'));
run(process.execPath, 'tools/build-native.mjs');
if (process.env.CI === 'true') {
  generated.forEach((name, i) => {
    if (readFileSync(join(node, name), 'utf8') !== before[i]) throw new Error(`node/${name} is stale: run \`npm run build\`, and commit it`);
  });
}
// The types go elsewhere: a test compares them with the committed ones.
run(process.execPath, 'node_modules/typescript/bin/tsc', '--declaration', 'false', '--declarationDir', 'null');
run(process.execPath, 'wasm/build.mjs');

const folder = resolve(process.argv[2] ?? join(node, 'test'));
const files = readdirSync(folder).filter((name) => name.endsWith('.test.mjs')).map((name) => join(folder, name));
const tests = spawnSync(process.execPath, ['--test', '--test-reporter=tap', ...files], { cwd: node, stdio: 'inherit' });
process.exitCode = tests.status ?? 1;
