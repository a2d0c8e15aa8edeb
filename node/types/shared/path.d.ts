/** Where in a value something is, for messages: `root.name[1]["odd key"]`. */
export declare function pathText(root: string, keys: readonly unknown[]): string;
