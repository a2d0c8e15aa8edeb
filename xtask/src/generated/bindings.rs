//! The Swift and the Kotlin files, which UniFFI generates from the library luacell-uniffi.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::steps::{cargo, finish};

/// Builds the library, runs the generator, and gives names and texts of the files.
pub fn files(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let out = root.join("target/uniffi");
    let library = root.join("target/release").join(format!(
        "{}luacell_uniffi{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ));
    finish(cargo().args(["build", "--quiet", "--release", "--package", "luacell-uniffi"]).current_dir(root))?;
    let mut generate = cargo();
    generate.args(["run", "--quiet", "--package", "luacell-uniffi-bindgen", "--", "generate", "--no-format"]);
    generate.arg("--library").arg(&library).args(["--config", "uniffi-bindings/uniffi.toml"]);
    generate.args(["--language", "kotlin", "--language", "swift", "--out-dir"]).arg(&out);
    finish(generate.current_dir(root))?;
    let read = |name: &str| {
        let text = std::fs::read_to_string(out.join(name)).with_context(|| format!("the generator made no {name}"))?;
        Ok::<_, anyhow::Error>(tidy(&text))
    };
    Ok(vec![
        ("uniffi-bindings/kotlin/src/main/kotlin/luacell/Generated.kt", kotlin(&read("luacell/luacell.kt")?)?),
        ("uniffi-bindings/swift/Sources/LuaCell/Generated.swift", swift(&read("LuaCell.swift")?)?),
        ("uniffi-bindings/swift/Sources/LuaCellFFI/LuaCellFFI.h", read("LuaCellFFI.h")?),
    ])
}

/// Without spaces at the ends of lines, and without several empty lines in a row.
fn tidy(text: &str) -> String {
    let mut out = String::new();
    let mut empty = 0;
    for line in text.lines().map(str::trim_end) {
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn replaced(text: &str, old: &str, new: &str) -> Result<String> {
    ensure!(text.matches(old).count() == 1, "the generated file does not have once: {old}");
    Ok(text.replace(old, new))
}

/// Gives whatever code of the host throws to the library as an error of the host. The generator would pass on its text alone, stack trace included.
fn swift(text: &str) -> Result<String> {
    const UNEXPECTED: &str = "        callStatus.pointee.code = CALL_UNEXPECTED_ERROR\n        \
         callStatus.pointee.errorBuf = FfiConverterString.lower(String(describing: error))\n";
    // Without errors that are declared.
    let text = text.replacen(UNEXPECTED, "        callStatus.pointee.code = CALL_UNEXPECTED_ERROR\n", 1);
    let text = replaced(
        &text,
        &format!(
            "    }} catch let error as E {{\n        callStatus.pointee.code = CALL_ERROR\n        \
                  callStatus.pointee.errorBuf = lowerError(error)\n    }} catch {{\n{UNEXPECTED}    }}\n"
        ),
        "    } catch {\n        callStatus.pointee.code = CALL_UNEXPECTED_ERROR\n        \
         if let error = hostError(error) as? E {\n            callStatus.pointee.errorBuf = lowerError(error)\n            \
         callStatus.pointee.code = CALL_ERROR\n        }\n    }\n",
    )?;
    Ok(text)
}

/// Gives the exceptions the message and the cause that Kotlin expects of one; the generator would list all their fields.
fn kotlin(text: &str) -> Result<String> {
    const CLASS: &str = "sealed class LuaException: kotlin.Exception(), Disposable {\n";
    const FIELD: &str = "        val `details`: ErrorDetails\n";
    const MESSAGE: &str = "        override val message\n            get() = \"details=${ `details` }\"\n";
    let text = text
        .replace("LuaException: kotlin.Exception(), Disposable  {", "LuaException: kotlin.Exception(), Disposable {");
    // Statuses.kt says why.
    let text = replaced(
        &text,
        "    var status = UniffiRustCallStatus()\n    val return_value = callback(status)\n    \
         uniffiCheckCallStatus(errorHandler, status)\n    return return_value\n",
        "    val statuses = Statuses.ofThread()\n    val status = statuses.take()\n    try {\n        \
         val return_value = callback(status)\n        statuses.read(status)\n        \
         uniffiCheckCallStatus(errorHandler, status)\n        return return_value\n    } finally {\n        \
         statuses.giveBack(status)\n    }\n",
    )?;
    // As in Swift; and errors of the JVM, such as a stack overflow, must not be lost on the way.
    const TRACE: &str = "val err = try { e.stackTraceToString() } catch(_: Throwable) { \"\" }\n";
    let text = text.replacen(
        &format!("    }} catch(e: kotlin.Exception) {{\n        {TRACE}        callStatus.code = UNIFFI_CALL_UNEXPECTED_ERROR\n        \
                  callStatus.error_buf = FfiConverterString.lower(err)\n    }}\n"),
        "    } catch(_: Throwable) {\n        callStatus.code = UNIFFI_CALL_UNEXPECTED_ERROR\n    }\n",
        1,
    );
    let text = replaced(
        &text,
        &format!(
            "    }} catch(e: kotlin.Exception) {{\n        if (e is E) {{\n            callStatus.code = UNIFFI_CALL_ERROR\n            \
                  callStatus.error_buf = lowerError(e)\n        }} else {{\n            {TRACE}            \
                  callStatus.code = UNIFFI_CALL_UNEXPECTED_ERROR\n            \
                  callStatus.error_buf = FfiConverterString.lower(err)\n        }}\n    }}\n"
        ),
        "    } catch(e: Throwable) {\n        callStatus.code = UNIFFI_CALL_UNEXPECTED_ERROR\n        \
         val error = hostException(e)\n        if (error is E) {\n            \
         callStatus.error_buf = lowerError(error)\n            callStatus.code = UNIFFI_CALL_ERROR\n        }\n    }\n",
    )?;
    ensure!(!text.contains("stackTraceToString"), "the generated Kotlin passes stack traces on");
    // FirstUse.kt says why.
    let text = ["IntegrityCheckingUniffiLib", "UniffiLib"].iter().try_fold(text, |text, object| {
        let register = format!("        Native.register({object}::class.java,");
        replaced(&text, &register, &format!("        FirstUse.begin()\n{register}"))
    })?;
    let text = replaced(
        &text,
        "        uniffiCallbackInterfaceTableStore.register(this)\n",
        "        uniffiCallbackInterfaceTableStore.register(this)\n        FirstUse.finish()\n",
    )?;
    let (before, rest) = text.split_once(CLASS).context("the generated Kotlin has no LuaException")?;
    let (class, after) =
        rest.split_once("companion object ErrorHandler").context("the generated LuaException has no error handler")?;
    let kinds = class.matches(FIELD).count();
    ensure!(kinds > 0 && class.matches(MESSAGE).count() == kinds, "the generated exceptions look otherwise");
    let class = class.replace(FIELD, "        override val `details`: ErrorDetails\n").replace(MESSAGE, "");
    Ok(format!(
        "{before}{CLASS}\n    /**\n     * Everything that is known.\n     */\n    abstract val details: ErrorDetails\n\n    \
         override val message: String\n        get() = details.message\n\n    \
         override val cause: Throwable?\n        get() = details.thrown()\n{class}companion object ErrorHandler{after}"
    ))
}
