// The little of Node.js that this code knows of.
declare const process: object | undefined;
declare const __filename: string;
declare function require(name: string): unknown;
