export * from './dist/cjs/cjs.js';
