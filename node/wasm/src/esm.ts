import { setDefaultPlace } from './engine.js';

// In this very form bundlers find the file, and bring it along.
setDefaultPlace(new URL('./lua.wasm', import.meta.url).href);

export * from './index.js';
