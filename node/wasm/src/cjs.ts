import { setDefaultPlace } from './engine.js';

const { pathToFileURL } = require('node:url') as { pathToFileURL(path: string): URL };
setDefaultPlace(new URL('./lua.wasm', pathToFileURL(__filename)).href);

export * from './index.js';
