// Before `npm pack` and `npm publish`: licences and notices lie at the top of the repository, and a package has to
// bring its own.
import { copyFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const node = dirname(dirname(fileURLToPath(import.meta.url)));
for (const name of ['LICENSE-MIT', 'LICENSE-APACHE', 'THIRD-PARTY-NOTICES.md']) copyFileSync(join(node, '..', name), join(node, name));
