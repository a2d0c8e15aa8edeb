// The README's programs: what stands in a comment behind console.log is what it prints.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const programs = [
  ['../README.md', 'luacell', '../index.mjs'],
  ['README.md', 'luacell', '../index.mjs'],
  ['wasm/README.md', 'luacell/wasm', '../wasm/index.mjs'],
].flatMap(([page, name, entry]) => {
  const text = readFileSync(new URL(`../${page}`, import.meta.url), 'utf8');
  const blocks = [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, program]) => program);
  // One is for browsers: wasm/test/browser.test.mjs runs it.
  const whole = blocks.filter((program) => !program.includes('openIndexedDB'));
  assert.ok(whole.length > 0, `${page} has a program that prints`);
  return whole.map((program) => ({ page, name, entry: new URL(entry, import.meta.url).href, program }));
});

for (const { page, name, entry, program } of programs) {
  test(`the program in ${page} prints what it says`, (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'luacell-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'program.mjs');
    const adapted = program.replaceAll(`from '${name}'`, () => `from ${JSON.stringify(entry)}`);
    assert.notEqual(adapted, program, `it imports ${name}`);
    writeFileSync(file, adapted);
    const printed = execFileSync(process.execPath, [file], { cwd: folder, encoding: 'utf8' });
    const expected = [...program.matchAll(/console\.log\(.*\);\s+\/\/ (.*)$/gm)].map(([, line]) => line);
    assert.deepEqual(printed.trimEnd().split('\n'), expected);
  });
}
