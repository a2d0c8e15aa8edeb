// node tools/package.mjs STAGE OUT: the packages as they are published, from what was built before. Prints their paths:
// luacell, and the one with the addon for this platform, which npm picks for the user among the optional dependencies.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { NapiCli } from '@napi-rs/cli';

const node = dirname(dirname(fileURLToPath(import.meta.url)));
const [stage, out] = process.argv.slice(2).map((folder) => resolve(folder));
const notices = ['LICENSE-MIT', 'LICENSE-APACHE', 'THIRD-PARTY-NOTICES.md'];
const read = (file) => JSON.parse(readFileSync(file, 'utf8'));
const write = (file, value) => writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
// Scripts have run before: what is packed here is finished.
const pack = (folder) =>
  join(out, execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', out], { cwd: folder, encoding: 'utf8' }).trim().split('\n').at(-1));

// One package for each platform, as napi describes them.
const settings = read(join(node, 'package.json'));
mkdirSync(join(stage, 'main'), { recursive: true });
write(join(stage, 'main/package.json'), settings);
await new NapiCli().createNpmDirs({ cwd: join(stage, 'main'), npmDir: 'npm', packageJsonPath: 'package.json' });
const platforms = readdirSync(join(stage, 'main/npm')).map((name) => join(stage, 'main/npm', name));

const [addon] = readdirSync(node).filter((name) => name.endsWith('.node'));
const here = platforms.find((folder) => read(join(folder, 'package.json')).main === addon);
if (!here) throw new Error(`no package is for ${addon}`);
copyFileSync(join(node, addon), join(here, addon));
if (process.platform === 'linux') execFileSync('strip', ['--strip-unneeded', join(here, addon)]);
for (const name of notices) copyFileSync(join(node, '..', name), join(here, name));
const platform = read(join(here, 'package.json'));
write(join(here, 'package.json'), { ...platform, files: [...platform.files, ...notices] });

// The package itself is the same everywhere: without an addon.
for (const name of notices) copyFileSync(join(node, '..', name), join(node, name));
const whole = execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', stage], { cwd: node, encoding: 'utf8' }).trim().split('\n').at(-1);
execFileSync('tar', ['-xzf', join(stage, whole), '-C', stage, '--exclude=*.node']);
const { scripts: _, devDependencies: __, ...published } = settings;
const optional = Object.fromEntries(platforms.map((folder) => [read(join(folder, 'package.json')).name, settings.version]).sort());
write(join(stage, 'package/package.json'), { ...published, files: settings.files.filter((name) => name !== '*.node'), optionalDependencies: optional });

for (const folder of [join(stage, 'package'), here]) console.log(pack(folder));
