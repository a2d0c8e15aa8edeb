//! The Swift and the Kotlin files, which UniFFI generates from the library luacell-uniffi.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::steps::{cargo, finish, library, target};

/// Builds the library, runs the generator, and gives names and texts of the files.
pub fn files(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let out = root.join("target/uniffi");
    finish(&mut cargo(&["build", "--quiet", "--release", "--package", "luacell-uniffi"]))?;
    let mut generate =
        cargo(&["run", "--quiet", "--package", "luacell-uniffi-bindgen", "--", "generate", "--no-format"]);
    generate.arg("--library").arg(target().join("release").join(library("luacell_uniffi")));
    generate.args([
        "--config",
        "uniffi-bindings/uniffi.toml",
        "--language",
        "kotlin",
        "--language",
        "swift",
        "--out-dir",
    ]);
    finish(generate.arg(&out))?;
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

/// Gives whatever code of the host throws to the library as an error of the host: the generator would pass its text on, stack trace included.
fn swift(text: &str) -> Result<String> {
    const UNDECLARED: [&str; 2] = [
        r"
    } catch let error {
        callStatus.pointee.code = CALL_UNEXPECTED_ERROR
        callStatus.pointee.errorBuf = FfiConverterString.lower(String(describing: error))
    }
",
        r"
    } catch {
        callStatus.pointee.code = CALL_UNEXPECTED_ERROR
    }
",
    ];
    const DECLARED: [&str; 2] = [
        r"
    } catch let error as E {
        callStatus.pointee.code = CALL_ERROR
        callStatus.pointee.errorBuf = lowerError(error)
    } catch {
        callStatus.pointee.code = CALL_UNEXPECTED_ERROR
        callStatus.pointee.errorBuf = FfiConverterString.lower(String(describing: error))
    }
",
        r"
    } catch {
        callStatus.pointee.code = CALL_UNEXPECTED_ERROR
        if let error = hostError(error) as? E {
            callStatus.pointee.errorBuf = lowerError(error)
            callStatus.pointee.code = CALL_ERROR
        }
    }
",
    ];
    [UNDECLARED, DECLARED].iter().try_fold(text.to_owned(), |text, [old, new]| replaced(&text, old, new))
}

/// As for Swift. Errors of the JVM, such as a stack overflow, must not get lost on the way either.
fn kotlin_callbacks(text: &str) -> Result<String> {
    const UNDECLARED: [&str; 2] = [
        r#"
    } catch(e: kotlin.Exception) {
        val err = try { e.stackTraceToString() } catch(_: Throwable) { "" }
        callStatus.code = UNIFFI_CALL_UNEXPECTED_ERROR
        callStatus.error_buf = FfiConverterString.lower(err)
    }
"#,
        r"
    } catch(_: Throwable) {
        callStatus.code = UNIFFI_CALL_UNEXPECTED_ERROR
    }
",
    ];
    const DECLARED: [&str; 2] = [
        r#"
    } catch(e: kotlin.Exception) {
        if (e is E) {
            callStatus.code = UNIFFI_CALL_ERROR
            callStatus.error_buf = lowerError(e)
        } else {
            val err = try { e.stackTraceToString() } catch(_: Throwable) { "" }
            callStatus.code = UNIFFI_CALL_UNEXPECTED_ERROR
            callStatus.error_buf = FfiConverterString.lower(err)
        }
    }
"#,
        r"
    } catch(e: Throwable) {
        callStatus.code = UNIFFI_CALL_UNEXPECTED_ERROR
        val error = hostException(e)
        if (error is E) {
            callStatus.error_buf = try {
                lowerError(error)
            } catch (half: HalfPair) {
                lowerError(hostException(half) as E)
            }
            callStatus.code = UNIFFI_CALL_ERROR
        }
    }
",
    ];
    [UNDECLARED, DECLARED].iter().try_fold(text.to_owned(), |text, [old, new]| replaced(&text, old, new))
}

/// Names the place of text that can't be passed: see Texts.kt.
fn kotlin_places(text: &str) -> Result<String> {
    const ARGUMENTS: [&str; 6] = [
        "String",
        "TypeLuaValue",
        "SequenceTypeLuaValue",
        "SequenceTypeTableNode",
        "OptionalTypeRunOptions",
        "OptionalTypeSandboxConfig",
    ];
    const FIELDS: [(&str, &str); 6] = [
        ("OptionalString", "name"),
        ("OptionalString", "store"),
        ("OptionalString", "moduleFolder"),
        ("OptionalString", "durable"),
        ("OptionalMapStringTypeLuaValue", "modules"),
        ("SequenceTypeLuaValue", "args"),
    ];
    let mut text = replaced(
        text,
        "        // Make sure we don't have invalid UTF-16, check for lone surrogates.\n        \
         return Charsets.UTF_8.newEncoder().run {\n            onMalformedInput(CodingErrorAction.REPORT)\n            \
         encode(CharBuffer.wrap(value))\n        }\n",
        "        return utf8(value)\n",
    )?;
    for (kind, name) in FIELDS {
        let write = format!("FfiConverter{kind}.write(value.`{name}`, buf)");
        ensure!(text.contains(&write), "the generated Kotlin does not write a field {name}");
        text = text.replace(&write, &format!("field(\"{name}\") {{ {write} }}"));
    }
    for kind in ARGUMENTS {
        let lower = format!("FfiConverter{kind}.lower(`");
        let mut parts = text.split(lower.as_str());
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once("`)").context("an argument of the generated Kotlin has no end")?;
            out.push_str(&format!("argument(\"{name}\") {{ {lower}{name}`) }}{rest}"));
        }
        text = out;
    }
    Ok(text)
}

/// What was closed is closed, and says so with the library's own exception; also where it is an argument, whose handle would be used after its end.
fn kotlin_closing(text: &str) -> Result<String> {
    const GONE: &str =
        "throw IllegalStateException(\"${this.javaClass.simpleName} object has already been destroyed\")";
    const LOWER: &str = "        return value.uniffiCloneHandle()\n";
    const CLOSE: &str = "    @Synchronized\n    override fun close() {\n        this.destroy()\n    }\n";
    // What Kotlin has for everything that can be closed is what `use` has to mean, with whatever is imported.
    const USE: &str =
        "            // N.B. our implementation is on the nullable type `Disposable?`.\n            this?.destroy()\n";
    const MADE: &str = "        this.cleanable = UniffiLib.CLEANER.register(this, UniffiCleanAction(handle))\n";
    ensure!(text.contains(GONE) && text.contains(LOWER), "the generated classes look otherwise");
    let text = text.replace(GONE, "throw closed(this)").replace(LOWER, "        return value.callWithHandle { it }\n");
    let text = replaced(&text, USE, "            if (this is AutoCloseable) close() else this?.destroy()\n")?;
    // The handle of a sandbox is left to the collector, so that all methods can still be called.
    let text = in_class(&text, "Sandbox", |class| {
        let class = replaced(class, CLOSE, "    override fun close() = shutDown()\n")?;
        replaced(&class, MADE, &format!("{MADE}        Weight.added()\n"))
    })?;
    Ok(text)
}

/// Changes what stands between the beginning of a class and that of the next.
fn in_class(text: &str, name: &str, change: impl FnOnce(&str) -> Result<String>) -> Result<String> {
    let begin = format!("open class {name}: ");
    let at = text.find(&begin).with_context(|| format!("the generated Kotlin has no class {name}"))?;
    let (before, class) = text.split_at(at);
    let end = class.find("public object FfiConverterType").context("the generated class has no converter")?;
    let (class, after) = class.split_at(end);
    Ok(format!("{before}{}{after}", change(class)?))
}

/// Cancelling.kt says why.
fn kotlin_cancelling(text: &str) -> Result<String> {
    const BEGIN: &str = "        return uniffiRustCallAsync(\n        callWithHandle { uniffiHandle ->\n            \
                         UniffiLib.uniffi_luacell_uniffi_fn_method_sandbox_";
    const END: &str = "        LuaException.ErrorHandler,\n    )\n    }\n";
    let calls = text.matches(BEGIN).count();
    ensure!(calls == 2 && text.matches(END).count() == calls, "the generated asynchronous calls look otherwise");
    let begin = BEGIN.replace("return uniffi", "return cancelling(canceller, tasks) { canceller, tasks -> uniffi");
    Ok(text.replace(BEGIN, &begin).replace(END, "        LuaException.ErrorHandler,\n    ) }\n    }\n"))
}

/// Threads.kt says why.
fn kotlin_threads(text: &str) -> Result<String> {
    const VTABLE: &str = "    internal var vtable = ";
    const REGISTER: &str = "    internal fun register(lib: UniffiLib) {\n";
    const CONTINUATION: &str =
        "internal object uniffiRustFutureContinuationCallbackImpl: UniffiRustFutureContinuationCallback {\n";
    let text =
        replaced(text, CONTINUATION, &format!("{CONTINUATION}    init {{\n        stayAttached(this)\n    }}\n\n"))?;
    let mut parts = text.split(VTABLE);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let callbacks = part.split_once("(\n").and_then(|(_, rest)| rest.split_once("    )\n"));
        let (callbacks, _) = callbacks.context("a table of callbacks of the generated Kotlin has no end")?;
        let (before, after) =
            part.split_once(REGISTER).context("the generated Kotlin registers callbacks otherwise")?;
        out.push_str(&format!(
            "{VTABLE}{before}{REGISTER}        stayAttached(\n{}        )\n{after}",
            callbacks.replace("        ", "            ")
        ));
    }
    Ok(out)
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
    let text = kotlin_threads(&kotlin_places(&kotlin_cancelling(&kotlin_closing(&kotlin_callbacks(&text)?)?)?)?)?;
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
