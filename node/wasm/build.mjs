// Builds luacell/wasm: `node build.mjs` writes dist/esm, dist/cjs and dist's lua.wasm.
//
// TypeScript is the one of an installed node/node_modules, else the pinned one of tools/, installed below target/.

import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const here = new URL("./", import.meta.url);
const root = new URL("../../", here);
const at = (path, base = here) => fileURLToPath(new URL(path, base));

/** The folder in which the pinned tools are; installed when they are missing or others. */
export function tools() {
  const folder = at("target/wasm-tools/", root);
  const lock = readFileSync(at("tools/package-lock.json"), "utf8");
  const stamp = `${folder}installed.json`;
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== lock) {
    mkdirSync(folder, { recursive: true });
    for (const file of ["package.json", "package-lock.json", ".npmrc"]) copyFileSync(at(`tools/${file}`), folder + file);
    execFileSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: folder, stdio: ["ignore", 2, 2] });
    writeFileSync(stamp, lock);
  }
  return folder;
}

function compiler() {
  try {
    return createRequire(at("../package.json")).resolve("typescript/bin/tsc");
  } catch {
    return `${tools()}node_modules/typescript/bin/tsc`;
  }
}

/** Takes out comments that have lines of their own: pages load this code as it is, and the types have what users read. */
function withoutComments(code) {
  let inside = false;
  const keeps = (line) => {
    const text = line.trim();
    const begins = !inside && text.startsWith("/**");
    const drops = inside || begins || text.startsWith("//");
    inside = (inside || begins) && !text.endsWith("*/");
    return !drops;
  };
  return code.split("\n").filter(keeps).join("\n");
}

/** Builds into dist/. */
export function build() {
  rmSync(at("dist"), { recursive: true, force: true });
  const tsc = compiler();
  for (const [project, folder, type] of [["tsconfig.json", "esm", "module"], ["tsconfig.cjs.json", "cjs", "commonjs"]]) {
    execFileSync(process.execPath, [tsc, "--project", at(project)], { stdio: ["ignore", 2, 2] });
    for (const name of readdirSync(at(`dist/${folder}`), { recursive: true }).filter((name) => name.endsWith(".js"))) {
      const file = at(`dist/${folder}/${name}`);
      writeFileSync(file, withoutComments(readFileSync(file, "utf8")));
    }
    // What a file means hangs on the package that it lies in, whatever node/package.json says.
    writeFileSync(at(`dist/${folder}/package.json`), `{ "type": "${type}" }\n`);
    copyFileSync(at("core/guest/lua.wasm", root), at(`dist/${folder}/wasm/src/lua.wasm`));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();
