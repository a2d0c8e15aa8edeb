import { Editor } from "./editor.js";
import { examples } from "./examples.js";
import { HomeView } from "./home.js";
import { Output } from "./output.js";
import { Session } from "./session.js";

const $ = (id) => document.getElementById(id);
const [run, stop, clear, reset, picker, theme, status, saved] = ["run", "stop", "clear", "reset", "examples", "theme", "status", "saved"].map($);

/** The browser's small memory, which may be switched off. */
const memory = {
  get: (name) => {
    try {
      return localStorage.getItem(`luacell.${name}`);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      localStorage.setItem(`luacell.${name}`, value);
    } catch {}
  },
};

const editor = new Editor($("editor"), { onChange: (text) => keep(text, ""), onRun: start });
const output = new Output($("output"), (line) => editor.goTo(line));
const home = new HomeView($("home"));

let ready = false;
let running = false;
/** Whether the focus belongs on the Run button, as soon as that can have it. */
let refocus = false;

function keep(text, example) {
  memory.set("source", text);
  memory.set("example", example);
  picker.value = example;
}

function setRunning(now) {
  running = now;
  run.hidden = now;
  stop.hidden = !now;
  run.disabled = !ready;
  clear.disabled = reset.disabled = now || !ready;
  if (now || !ready || !refocus) return;
  refocus = false;
  run.focus();
}

function start() {
  if (!ready || running) return;
  output.clear();
  editor.mark(0);
  status.textContent = "Running …";
  saved.textContent = "";
  const hadFocus = document.activeElement === run;
  setRunning(true);
  if (hadFocus) stop.focus();
  session.send("run", { source: editor.text });
}

function finish(text) {
  refocus = document.activeElement === stop;
  setRunning(false);
  status.textContent = text;
}

function metricsText({ wallTime, instructions, peakMemory }) {
  const time = wallTime < 1000 ? `${wallTime.toFixed(wallTime < 10 ? 1 : 0)} ms` : `${(wallTime / 1000).toFixed(2)} s`;
  return `${time} · ${instructions.toLocaleString("en")} instructions · ${Math.ceil(peakMemory / 1024).toLocaleString("en")} KiB`;
}

function notice(text) {
  $("banner").textContent = text;
  $("banner").hidden = false;
}

const session = new Session({
  ready: () => {
    ready = true;
    setRunning(false);
    if (status.textContent.startsWith("Loading")) status.textContent = "Ready";
  },
  print: ({ text }) => output.print(text),
  done: ({ values, metrics }) => {
    output.results(values);
    finish(metricsText(metrics));
  },
  failed: (error) => {
    if (error.kind === "Interrupted") output.note(`Stopped${error.line ? ` in line ${error.line}` : ""}. Nothing of this run was kept.`);
    else output.failure(error);
    if (error.line) editor.mark(error.line);
    finish(metricsText(error.metrics));
  },
  home: ({ tree }) => home.show(tree),
  saved: () => (saved.textContent = "Saved"),
  restarted: () => {
    output.clear();
    output.note("Lua was restarted: globals are gone, kept tables are as they were.");
    status.textContent = "Ready";
  },
  notice: ({ text }) => notice(text),
  broken: ({ text }) => notice(`Lua could not be started: ${text}`),
  ended: () => {
    ready = false;
    output.note("Stopped, and Lua was restarted. Kept tables are as before the run.");
    finish("Ready");
  },
});

run.addEventListener("click", start);
stop.addEventListener("click", () => {
  status.textContent = "Stopping …";
  session.stop();
});
reset.addEventListener("click", () => session.send("reset"));
document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  if (event.key === "Enter" && !event.defaultPrevented) start();
  if (event.key === "." && running) stop.click();
});

// Clearing can't be taken back: it takes two presses.
let sure;
clear.addEventListener("click", () => {
  const ask = (asking) => {
    clearTimeout(sure);
    clear.classList.toggle("sure", asking);
    clear.textContent = asking ? "Clear all?" : "Clear";
    sure = asking ? setTimeout(() => ask(false), 4000) : undefined;
  };
  if (sure === undefined) return ask(true);
  ask(false);
  session.send("clear");
});

// Examples
const own = document.createElement("option");
own.value = "";
own.textContent = "Your script";
picker.append(own);
const group = document.createElement("optgroup");
group.label = "Examples";
for (const [name] of examples) group.append(new Option(name, name));
picker.append(group);
picker.addEventListener("change", () => {
  const source = picker.value === "" ? memory.get("own") : examples.find(([name]) => name === picker.value)?.[1];
  if (memory.get("example") === "") memory.set("own", editor.text);
  editor.text = source ?? "";
  keep(editor.text, picker.value);
});
editor.text = memory.get("source") ?? examples[0][1];
picker.value = memory.get("example") ?? examples[0][0];

// Colours: as the system has them, light, dark
const themes = [["", "◐", "as the system has them"], ["light", "☀", "light"], ["dark", "☾", "dark"]];
function setTheme(name) {
  const [, sign, text] = themes.find(([other]) => other === name) ?? themes[0];
  document.documentElement.dataset.theme = name;
  theme.textContent = sign;
  theme.setAttribute("aria-label", `Colours: ${text}`);
  theme.title = `Colours: ${text}`;
}
theme.addEventListener("click", () => {
  const at = themes.findIndex(([name]) => name === document.documentElement.dataset.theme);
  const [next] = themes[(at + 1) % themes.length];
  memory.set("theme", next);
  setTheme(next);
});
setTheme(memory.get("theme") ?? "");
setRunning(false);
