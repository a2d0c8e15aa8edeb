import { Engine, Sandbox } from "../dist/esm/wasm/src/index.js";

onmessage = ({ data }) => postMessage(new Sandbox({ engine: new Engine(data) }).compute("return 6 * 7"));
