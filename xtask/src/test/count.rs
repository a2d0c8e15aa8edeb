//! Counting results from what test runners print.

/// Results of some tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Said beside the numbers: why something was skipped or failed, corpus cases.
    pub notes: Vec<String>,
}

impl Tally {
    /// A part that could not run: skipped, but in CI that is a failure.
    pub fn not_run(reason: String, ci: bool) -> Self {
        Self { failed: u64::from(ci), skipped: u64::from(!ci), notes: vec![reason], ..Self::default() }
    }

    /// Adds other results.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.notes.extend(other.notes);
    }

    /// Counts a failure that no runner reported.
    pub fn fail(&mut self, reason: &str) {
        self.failed += 1;
        self.notes.push(reason.to_owned());
    }
}

/// How a runner tells its results.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// `cargo test`: one `test result:` line for each test binary.
    Cargo,
    /// `go test -v`: a line `--- PASS: name (0.01s)` for each test, indented for parts of tests.
    Go,
    /// Maven's Surefire: `Tests run: 3, Failures: 0, Errors: 0, Skipped: 0` for each class with a time, and once for
    /// all without.
    Surefire,
    /// `swift test`: a line `Test Case 'Class.name' passed (0.1 seconds)` for each test, and our own for examples.
    XCTest,
    /// pytest: one line such as `2 failed, 310 passed, 1 skipped in 46.13s` at the end.
    Pytest,
    /// The Test Anything Protocol as `node --test` writes it: `# pass 3` and so on at the end.
    Tap,
}

impl Format {
    /// Takes notice of one line of output.
    pub fn read(self, line: &str, tally: &mut Tally) {
        if let Some((passed, failed, skipped)) = self.counts(line) {
            tally.passed += passed;
            tally.failed += failed;
            tally.skipped += skipped;
        }
        tally.notes.extend(corpus_line(line));
    }

    /// How many tests a line says have passed, failed, and been skipped.
    fn counts(self, line: &str) -> Option<(u64, u64, u64)> {
        match self {
            // `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`; what a
            // test prints without a newline can stand before it.
            Self::Cargo => {
                let (_, result) = line.split_once("test result: ")?;
                Some((before(result, "passed"), before(result, "failed"), before(result, "ignored")))
            }
            // Parts of a test count beside the test that they belong to.
            Self::Go => one(line.trim_start().strip_prefix("--- ")?.split(": ").next()?),
            // `=== 2 failed, 310 passed, 1 skipped, 1 error in 46.13s (0:00:46) ===`
            Self::Pytest => {
                let (counts, time) = line.trim_matches(['=', ' ']).rsplit_once(" in ")?;
                time.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
                let sum = |words: &[&str]| words.iter().map(|word| before(counts, word)).sum();
                let failed = sum(&["failed", "error", "errors", "xpassed"]);
                Some((sum(&["passed", "xfailed"]), failed, before(counts, "skipped")))
            }
            // `[INFO] Tests run: 3, Failures: 1, Errors: 0, Skipped: 0` for all classes together; a class's own line
            // has a time behind it.
            Self::Surefire => {
                let (_, counts) = line.split_once("Tests run: ").filter(|_| !line.contains("Time elapsed"))?;
                let numbers = counts.split(", ").map(|count| count.rsplit(' ').next()?.parse().ok());
                let [run, failures, errors, skipped] = numbers.collect::<Option<Vec<u64>>>()?[..] else { return None };
                Some((run.saturating_sub(failures + errors + skipped), failures + errors, skipped))
            }
            // `Test Case 'SandboxTests.testHome' passed (0.012 seconds)`, or `Example: passed`.
            Self::XCTest => {
                let of_test = line.strip_prefix("Test Case '").and_then(|test| test.split_once("' "));
                let result = of_test.map_or_else(|| line.strip_prefix("Example: "), |(_, result)| Some(result))?;
                one(result.split(' ').next()?)
            }
            // `# pass 3`, `# fail 0`, `# cancelled 0`, `# skipped 0`, `# todo 0`, without indentation.
            Self::Tap => {
                let (what, number) = line.strip_prefix("# ")?.split_once(' ')?;
                let number = number.trim().parse().ok()?;
                match what {
                    "pass" => Some((number, 0, 0)),
                    "fail" | "cancelled" => Some((0, number, 0)),
                    "skipped" | "todo" => Some((0, 0, number)),
                    _ => None,
                }
            }
        }
    }

    /// Whether the line is worth showing: of runners that write lines for every success, failures and totals.
    /// `in_failure` is kept between lines.
    pub fn shows(self, line: &str, in_failure: &mut bool) -> bool {
        let text = line.trim_start();
        match self {
            Self::Cargo | Self::Pytest | Self::Surefire => true,
            Self::XCTest => !line.starts_with("Test Case") || line.contains("failed"),
            Self::Go => {
                if text.starts_with("--- ") {
                    *in_failure = text.starts_with("--- FAIL");
                }
                !text.starts_with("=== ") && (*in_failure || !line.starts_with(' '))
            }
            Self::Tap => {
                if text.starts_with("not ok ") {
                    *in_failure = true;
                } else if text.starts_with("ok ") || text.starts_with("# ") {
                    *in_failure = false;
                }
                *in_failure || line.starts_with("# ") || line.starts_with("ok ")
            }
        }
    }
}

/// The number before a word, or none.
fn before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    let number = words.iter().zip(words.iter().skip(1)).find(|(_, found)| **found == word);
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or_default()
}

/// One test with this result.
fn one(result: &str) -> Option<(u64, u64, u64)> {
    match result.to_ascii_lowercase().as_str() {
        "pass" | "passed" => Some((1, 0, 0)),
        "fail" | "failed" => Some((0, 1, 0)),
        "skip" | "skipped" => Some((0, 0, 1)),
        _ => None,
    }
}

/// `corpus: 321 cases`; in TAP after a `#`, and with more behind a comma, which is too long for the table.
fn corpus_line(line: &str) -> Option<String> {
    let line = line.trim_start_matches(['#', ' ']);
    let number = line.strip_prefix("corpus: ")?.split(' ').next()?;
    number.parse::<u64>().ok()?;
    line.split(',').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A runner's output, what passed, failed and was skipped, and the note.
    const OUTPUTS: &[(Format, &str, [u64; 3], &str)] = &[
        (
            // They add up over binaries.
            Format::Cargo,
            "running 4 tests\ntest a ... ok\ncorpus: 321 cases\n\
             test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.01s\n\
             dots...test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            [5, 1, 1],
            "corpus: 321 cases",
        ),
        (
            Format::Pytest,
            "corpus: 1036 cases\n....F\n2 tests in 3 files\nwaited 3 passed in a row\n\
             === 2 failed, 310 passed, 1 skipped, 4 warnings, 1 error in 46.13s (0:00:46) ===\n",
            [310, 3, 1],
            "corpus: 1036 cases",
        ),
        (
            // Only the closing numbers count.
            Format::Tap,
            "TAP version 13\n    # pass 7\nok 1 - init\n# a remark\n# corpus: 300 cases, skipped: 21\n1..1\n\
             # tests 6\n# suites 0\n# pass 4\n# fail 1\n# cancelled 1\n# skipped 2\n# todo 0\n# duration_ms 12.5\n",
            [4, 2, 2],
            "corpus: 300 cases",
        ),
        (Format::Go, GO, [1, 2, 1], "corpus: 12 cases with revision 1"),
        (
            Format::Surefire,
            "corpus: 1095 cases\n[ERROR] Tests run: 20, Failures: 1, Errors: 1, Skipped: 1, Time elapsed: 0.1 s -- in a.B\n\
             [ERROR] Tests run: 25, Failures: 1, Errors: 1, Skipped: 1\n",
            [22, 2, 1],
            "corpus: 1095 cases",
        ),
        (
            Format::XCTest,
            "Test Suite 'SandboxTests' passed at 10:00\nTest Case 'SandboxTests.testHome' started at 10:00\n\
             Test Case 'SandboxTests.testHome' passed (0.012 seconds)\ncorpus: 1095 cases\n\
             Test Case 'SandboxTests.testNo' failed (0.1 seconds)\nTest Case 'A.b' skipped (0.1 seconds)\n\
             \t Executed 3 tests, with 1 failure\nExample: passed\n",
            [2, 1, 1],
            "corpus: 1095 cases",
        ),
    ];

    const GO: &str = "=== RUN   TestA\n=== RUN   TestA/b\n    a_test.go:3: wrong: 7\n--- FAIL: TestA (0.01s)\n    \
                      --- PASS: TestA/a (0.00s)\n    --- FAIL: TestA/b (0.00s)\n        more\n--- SKIP: TestC (0.00s)\n\
                      corpus: 12 cases with revision 1, 3 more\nFAIL\nFAIL\tgo-example\t0.1s\n";

    #[test]
    fn results_are_counted() {
        for (format, text, [passed, failed, skipped], note) in OUTPUTS {
            let mut tally = Tally::default();
            text.lines().for_each(|line| format.read(line, &mut tally));
            let notes = vec![(*note).to_owned()];
            let expected = Tally { passed: *passed, failed: *failed, skipped: *skipped, notes };
            assert_eq!(tally, expected, "{format:?}");
        }
    }

    fn shown(format: Format, text: &str) -> Vec<&str> {
        let mut in_failure = false;
        text.lines().filter(|line| format.shows(line, &mut in_failure)).collect()
    }

    #[test]
    fn of_go_failures_and_what_is_outermost_are_shown() {
        let shown = shown(Format::Go, GO);
        assert!(shown.contains(&"        more") && !shown.iter().any(|line| line.contains("PASS: TestA/a")));
    }

    #[test]
    fn of_tap_failures_and_the_outermost_results_are_shown() {
        let text = "TAP version 13\n    # Subtest: a\n    ok 1 - a\n      ---\n      duration_ms: 1\n      ...\n    \
                    not ok 2 - b\n      ---\n      error: 'no'\n      ...\n    ok 3 - c\nnot ok 1 - all\n# fail 2\n";
        let expected =
            ["    not ok 2 - b", "      ---", "      error: 'no'", "      ...", "not ok 1 - all", "# fail 2"];
        assert_eq!(shown(Format::Tap, text), expected);
    }

    #[test]
    fn a_missing_tool_is_a_failure_in_ci_only() {
        assert_eq!(Tally::not_run("no node".into(), true).failed, 1);
        let local = Tally::not_run("no node".into(), false);
        assert_eq!((local.failed, local.skipped), (0, 1));
    }
}
