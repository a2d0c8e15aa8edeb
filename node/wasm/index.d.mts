export * from './dist/cjs/wasm/src/cjs.js';
