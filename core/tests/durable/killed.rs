//! Processes that are killed at random points while they work on durable runs. The file store's tests and the server's
//! both use this.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use luacell::{ComputeOptions, Result, Run, Sandbox};

/// What each run does: three calls, and what came of them.
const SOURCE: &str = "
    local run = ...
    local seen = {}
    for step = 1, 3 do
        local answer = ask(run, step)
        seen[step] = answer
        _home.log[#_home.log + 1] = run .. ':' .. step .. ':' .. answer
    end
    _home.ended[run] = (_home.ended[run] or 0) + 1
    return seen[1] + seen[2] + seen[3]";

fn say(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // The harness writes the test's name without a newline.
    write!(out, "\n> {text}\n").unwrap();
    out.flush().unwrap();
}

/// Goes on with a run to its end, and tells what it does.
fn drive(mut run: Run) -> Result<()> {
    let mut answered = Vec::new();
    while run.is_waiting() {
        answered.iter().for_each(|asked| say(format!("kept {asked}")));
        answered.clear();
        for request in run.requests()? {
            let (number, step) = (request.args[0].as_integer().unwrap(), request.args[1].as_integer().unwrap());
            assert_eq!(request.id, step as u64, "a request has its number for good");
            say(format!("asked {number}:{step}"));
            run.answer(request.id, number * 10 + step)?;
            answered.push(format!("{number}:{step}"));
        }
        run.resume()?;
    }
    run.into_result().map(drop)
}

pub fn declare(lua: &Sandbox) {
    lua.declare("ask").unwrap();
    lua.compute("_home.log = _home.log or {} _home.ended = _home.ended or {}").unwrap();
}

/// Goes on with what waits, then begins more: without end, for it is killed.
pub fn work(lua: &Sandbox, worker: &str) {
    declare(lua);
    let mut number = 0;
    loop {
        for pending in lua.pending_runs().unwrap() {
            if pending.claimed.is_none() && pending.name.starts_with(worker) {
                drive(lua.resume(&pending.name).unwrap()).unwrap();
            }
        }
        // The first number that is not used up.
        let used = |n: i64| lua.compute_with("return _home.ended[...]", ComputeOptions::new().args(n));
        while used(number + 1).unwrap().get::<Option<i64>>().unwrap().is_some() {
            number += 1;
        }
        let options = ComputeOptions::new().args(number + 1).durable(format!("{worker}{}", number + 1));
        drive(lua.start(SOURCE, options).unwrap()).unwrap();
    }
}

/// A test of this program in a process of its own, with the place that it is to work on.
pub fn process(test: &str, place: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env("LUACELL_PLACE", place).stdout(Stdio::piped()).spawn().unwrap()
}

/// Kills it as often, and watches what it says.
pub fn kill_often(times: u32, spawn: impl Fn() -> Child) {
    let mut random = 12345u64;
    let mut next = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let mut kept: HashMap<String, u32> = HashMap::new();
    let mut asked_again = 0;
    let mut asked: HashMap<String, u32> = HashMap::new();
    for round in 0..times {
        let mut process = spawn();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut lines =
            output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("> ").map(str::to_owned));
        let mut heard = Vec::new();
        for _ in 0..next(14) {
            heard.push(lines.next().unwrap_or_else(|| panic!("the child of round {round} ended by itself")));
        }
        std::thread::sleep(Duration::from_micros(next(3000)));
        process.kill().unwrap();
        heard.extend(lines);
        process.wait().unwrap();
        for line in heard {
            let (what, which) = line.split_once(' ').unwrap();
            if what == "kept" {
                kept.insert(which.to_owned(), round);
                continue;
            }
            assert!(
                !kept.contains_key(which),
                "{which} was stored in round {} and asked again in {round}",
                kept[which]
            );
            asked_again += u32::from(asked.insert(which.to_owned(), round).is_some_and(|before| before != round));
        }
    }
    assert!(asked_again > 0, "no process was killed between a question and the next wait");
    assert!(!kept.is_empty());
}

/// Ends what is left, and looks whether each run has ended once, with each of its writes there once.
pub fn check(lua: &Sandbox) {
    declare(lua);
    for pending in lua.pending_runs().unwrap() {
        drive(lua.resume(&pending.name).unwrap()).unwrap();
    }
    assert!(lua.pending_runs().unwrap().is_empty());
    let source = "
        local counts, wrong, runs = {}, 0, 0
        for _, line in ipairs(_home.log) do
            counts[line] = (counts[line] or 0) + 1
            local run, step, answer = line:match('^(%d+):(%d):(%d+)$')
            if tonumber(answer) ~= run * 10 + step then wrong = wrong + 1 end
        end
        for run, times in pairs(_home.ended) do
            runs = runs + 1
            if times ~= 1 then wrong = wrong + 1 end
            for step = 1, 3 do
                local line = ('%d:%d:%d'):format(run, step, run * 10 + step)
                if counts[line] ~= 1 then wrong = wrong + 1 end
                counts[line] = nil
            end
        end
        return wrong, next(counts), runs";
    let found = lua.compute(source).unwrap();
    assert_eq!(found.values[..2], [0.into(), luacell::Value::Nil], "{:?}", found.values);
    assert!(found.get_at::<i64>(2).unwrap() > 10);
}
