// Builds the addon with plain cargo, into the workspace's own target folder, so that what other parts have built is
// used; `napi build` names the target, and would build everything once more. Writes what `napi build` writes: the addon
// for this platform, native.js, native.d.ts.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { generateTypeDef, writeJsBinding } from '@napi-rs/cli';

const node = dirname(dirname(fileURLToPath(import.meta.url)));
const root = dirname(node);
const settings = JSON.parse(readFileSync(join(node, 'package.json'), 'utf8'));
const { binaryName } = settings.napi;

const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
// napi-derive writes types while it compiles; when nothing is compiled, they are still there from before. Else it is
// made to compile.
const types = join(target, 'napi-types');
mkdirSync(types, { recursive: true });
const force = existsSync(join(types, 'luacell-node')) ? {} : { NAPI_FORCE_BUILD_LUACELL_NODE: String(Date.now()) };
const cargo = process.env.CARGO ?? 'cargo';
// Cargo features, such as static.
const features = process.env.LUACELL_FEATURES ? ['--features', process.env.LUACELL_FEATURES] : [];
execFileSync(cargo, ['build', '--release', '--package', 'luacell-node', ...features], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, NAPI_TYPE_DEF_TMP_FOLDER: types, ...force },
});

const library = { win32: 'luacell_node.dll', darwin: 'libluacell_node.dylib' }[process.platform] ?? 'libluacell_node.so';
const isMusl = process.platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime;
const abi = { linux: isMusl ? '-musl' : '-gnu', win32: '-msvc' }[process.platform] ?? '';
const addon = join(node, `${binaryName}.${process.platform}-${process.arch}${abi}.node`);
// Not over the old file: a process may have it mapped.
copyFileSync(join(target, 'release', library), `${addon}.new`);
rmSync(addon, { force: true });
renameSync(`${addon}.new`, addon);

const { dts, header, exports } = await generateTypeDef({ typeDefDir: types, cwd: node, constEnum: false });
if (exports.length === 0) throw new Error(`no types were found in ${types}: touch node/src/lib.rs, and build again`);
writeFileSync(join(node, 'native.d.ts'), header + dts);
await writeJsBinding({
  platform: true,
  idents: exports,
  jsBinding: 'native.js',
  binaryName,
  packageName: settings.name,
  version: settings.version,
  outputDir: node,
});
