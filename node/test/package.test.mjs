// The package as users get it: types, what is committed, what npm packs.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('..', import.meta.url));
const tsc = join(here, 'node_modules/typescript/bin/tsc');

const wasmTypes = `import { type Engine, Sandbox, type TableStore } from 'luacell/wasm';
export const make = (store: TableStore, engine: Engine): Promise<Sandbox> => Sandbox.create({ store, engine });
`;

function temporary(t) {
  const folder = mkdtempSync(join(tmpdir(), 'luacell-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const files = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1))
    .sort();

test('the committed types are those of the sources', (t) => {
  const folder = temporary(t);
  execFileSync(process.execPath, [tsc, '-p', here, '--declarationDir', folder, '--emitDeclarationOnly'], { stdio: 'inherit' });
  const committed = join(here, 'types');
  assert.deepEqual(files(committed), files(folder), 'run `npm run build:js`, and commit types/');
  for (const file of files(folder)) {
    assert.equal(readFileSync(join(committed, file), 'utf8'), readFileSync(join(folder, file), 'utf8'), `types/${file} is stale: run \`npm run build:js\``);
  }
});

test('luacell/wasm: import and require give Node.js the same classes, and bundlers one build for both', async () => {
  const require = createRequire(import.meta.url);
  const imported = await import('luacell/wasm');
  const required = require('luacell/wasm');
  const forOthers = await import('../wasm/dist/esm/wasm/src/esm.js');
  assert.deepEqual(Object.keys(imported).sort(), Object.keys(forOthers).sort());
  for (const name of Object.keys(forOthers)) assert.equal(imported[name], required[name], name);
  const lua = await imported.Sandbox.create();
  assert.ok(lua instanceof required.Sandbox && lua.home instanceof required.StoredTable);
  assert.throws(() => lua.compute('error()'), (error) => error instanceof required.LuaCellError);
  const entry = require('luacell/package.json').exports['./wasm'];
  assert.equal(Object.keys(entry)[0], 'module', 'which bundlers know, and Node.js does not');
  assert.equal(entry.module.default, entry.import.default);
  for (const { types, default: file } of [entry.module, entry.node.import, entry.node.require, entry.import])
    for (const name of [types, file]) assert.ok(existsSync(join(here, name)), name);
});

test('npm pack, npm install in an empty folder, without Rust; types with tsc --strict', (t) => {
  const folder = temporary(t);
  const npm = (...args) => execFileSync('npm', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const tarball = npm('pack', here, '--silent', '--pack-destination', folder).trim().split('\n').at(-1);
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  npm('install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts', join(folder, tarball));

  for (const name of ['LICENSE-MIT', 'LICENSE-APACHE', 'THIRD-PARTY-NOTICES.md']) {
    const there = readFileSync(join(folder, 'node_modules/luacell', name), 'utf8');
    assert.equal(there, readFileSync(join(here, '..', name), 'utf8'), name);
  }

  const use = "const lua = new Sandbox(); console.log(lua.compute('return 6 * 7'));";
  writeFileSync(join(folder, 'use.mjs'), `import { Sandbox } from 'luacell'; ${use}`);
  writeFileSync(join(folder, 'use.cjs'), `const { Sandbox } = require('luacell'); ${use}`);
  const wasm = "import { Sandbox } from 'luacell/wasm'; const lua = await Sandbox.create(); console.log(lua.compute('return 6 * 7'));";
  writeFileSync(join(folder, 'wasm.mjs'), wasm);
  writeFileSync(join(folder, 'wasm.cjs'), "const { Sandbox } = require('luacell/wasm'); Sandbox.create().then((lua) => console.log(lua.compute('return 6 * 7')));");
  for (const file of ['use.mjs', 'use.cjs', 'wasm.mjs', 'wasm.cjs']) {
    const env = { PATH: dirname(process.execPath) };
    assert.equal(execFileSync(process.execPath, [file], { cwd: folder, env, encoding: 'utf8' }).trim(), '42', file);
  }

  // The example, with the package from the tarball.
  cpSync(join(here, '../examples/node'), join(folder, 'examples/node'), { recursive: true });
  cpSync(join(here, '../examples/rules.lua'), join(folder, 'examples/rules.lua'));
  const report = execFileSync(process.execPath, ['examples/node/main.mjs'], { cwd: folder, encoding: 'utf8' });
  assert.equal(report, readFileSync(join(here, '../examples/rules-report.txt'), 'utf8'));

  mkdirSync(join(folder, 'node_modules/@types'), { recursive: true });
  for (const name of ['@types/node', 'undici-types']) cpSync(join(here, 'node_modules', name), join(folder, 'node_modules', name), { recursive: true });
  // Types of luacell/wasm are tested in wasm/test: here it is only whether each kind of module finds them.
  for (const extension of ['mts', 'cts']) writeFileSync(join(folder, `use-wasm.${extension}`), wasmTypes);
  for (const extension of ['mts', 'cts']) cpSync(join(here, 'test/types/use.ts'), join(folder, `use.${extension}`));
  for (const [module, resolution] of [['nodenext', 'nodenext'], ['esnext', 'bundler']]) {
    const args = [tsc, '--noEmit', '--strict', '--target', 'es2022', '--module', module, '--moduleResolution', resolution, '--types', 'node'];
    const compiled = spawnSync(process.execPath, [...args, ...(module === 'nodenext' ? ['use.mts', 'use.cts', 'use-wasm.mts', 'use-wasm.cts'] : ['use.mts', 'use-wasm.mts'])], { cwd: folder, encoding: 'utf8' });
    assert.equal(compiled.status, 0, compiled.stdout);
  }
});
