//! Every system tool of a test machine, played by one program that is linked under the tools' names.
//!
//! The links lie in one folder beside `rules.json`. Each call is appended to `calls.log`, its environment to
//! `environment.log`, and its rights (the kernel's `NoNewPrivs` and capabilities) to `rights.log`; the first rule that
//! matches the call answers it. A call that no rule matches exits with 97, so
//! that a test sees it. Facts of the machine ("docker is installed") are files in the folder `facts`; rules ask for
//! them, change them, and keep text in them. The machine's root directory (`BOOTSTRAP_ROOT`) is written `ROOT` in
//! patterns and in `calls.log`.
//!
//! A rule:
//!
//! ```json
//! {"run": "systemctl start *",       each * stands for any text, which is {1}, {2} … below
//!  "if": ["fact", "/path"],          all of these facts and files exist …
//!  "unless": ["fact", "/path"],      … and none of these
//!  "also": true,                     takes effect, and a later rule answers
//!  "set": ["active {1}"],            facts to make; {1*} makes one for each word of {1}
//!  "clear": ["fact"],                facts to remove
//!  "keep": {"fact": "text"},         facts with text, which is {@fact} in other rules; {now} is the time
//!  "write": {"/path": "text"},       files
//!  "append": {"/path": "text"},      the same, at their end
//!  "give": ["/path"],                files and folders that uid and gid 1002 get for themselves alone
//!  "remove": ["/path"],              files and folders to remove
//!  "moves": {"/from": "/to"},        all that lies in one folder goes to another
//!  "brings": ["docker"],             tools that are there from now on
//!  "wait": "gate",                   goes on when someone has opened this FIFO and closed it
//!  "hang": true,                     never ends by itself
//!  "each": {"Name": "tool {}"},      for each word of {1} a block of lines Name=what that call would print
//!  "print": "text or JSON", "error": "text", "exit": 0}
//! ```

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

/// Exit code of a call that nobody expected.
const UNEXPECTED: u8 = 97;

/// The tool that this process was started as, or `None` where it was started as itself.
pub fn name() -> Option<String> {
    let program = PathBuf::from(std::env::args_os().next()?);
    let name = program.file_name()?.to_string_lossy().into_owned();
    let beside = program.parent()?.join("rules.json");
    beside.exists().then_some(name)
}

/// Answers the call.
pub fn main() -> ExitCode {
    match Call::of_process().and_then(|call| call.answer()) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            let _ = writeln!(io::stderr(), "fake tool: {problem}");
            ExitCode::from(UNEXPECTED)
        }
    }
}

type Result<T> = std::result::Result<T, String>;

/// Puts a file there in one step: other tools may be reading it.
pub fn put(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_added_extension(std::process::id().to_string());
    fs::write(&new, text)?;
    fs::rename(new, path)
}

fn told<T>(result: io::Result<T>) -> Result<T> {
    result.map_err(|error| error.to_string())
}

/// What a tool says.
#[derive(Default)]
struct Reply {
    print: String,
    error: String,
}

/// One call of a tool.
struct Call {
    /// Where the links, the rules and the facts lie.
    folder: PathBuf,
    /// The machine's root directory.
    root: PathBuf,
    /// Name and arguments, joined by blanks.
    line: String,
}

impl Call {
    fn of_process() -> Result<Self> {
        let mut words = std::env::args();
        let program = PathBuf::from(words.next().ok_or("no name to be called by")?);
        let name = program.file_name().ok_or("called without a name")?;
        let root = std::env::var("BOOTSTRAP_ROOT").map_err(|_| "no BOOTSTRAP_ROOT")?;
        let line = std::iter::once(name.to_string_lossy().into_owned())
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ");
        Ok(Self {
            folder: program.parent().ok_or("called without a folder")?.into(),
            line: line.replace(&root, "ROOT"),
            root: root.into(),
        })
    }

    fn answer(&self) -> Result<u8> {
        self.log("calls.log", &self.line)?;
        let environment: Vec<String> = std::env::vars().map(|(k, v)| format!("{k}={v}")).collect();
        self.log("environment.log", &environment.join("\n"))?;
        self.log("rights.log", &rights()?)?;
        let rules = told(fs::read_to_string(self.folder.join("rules.json")))?;
        let rules: Vec<Value> = serde_json::from_str(&rules).map_err(|error| error.to_string())?;
        let mut reply = Reply::default();
        let code = self.reply(&self.line, &rules, &mut reply)?;
        told(write!(io::stdout(), "{}", reply.print))?;
        told(write!(io::stderr(), "{}", reply.error))?;
        Ok(code)
    }

    /// What the rules make of a call, and its exit code.
    fn reply(&self, line: &str, rules: &[Value], reply: &mut Reply) -> Result<u8> {
        for rule in rules {
            let pattern = rule["run"].as_str().unwrap_or_default();
            let Some(captures) = captures(pattern, line) else {
                continue;
            };
            let text = |text: &str| self.filled(text, &captures);
            if !texts(&rule["if"]).all(|fact| self.holds(&text(fact)))
                || texts(&rule["unless"]).any(|fact| self.holds(&text(fact)))
            {
                continue;
            }
            self.take_effect(rule, &captures, reply)?;
            if let Some(asks) = rule["each"].as_object() {
                let words = captures.first().map(|words| words.split_whitespace());
                for word in words.into_iter().flatten() {
                    for (name, call) in asks {
                        let call = call.as_str().unwrap_or_default().replace("{}", word);
                        let mut part = Reply::default();
                        self.reply(&call, rules, &mut part)?;
                        reply.print.extend([name, "=", part.print.trim(), "\n"]);
                    }
                    reply.print += "\n";
                }
            }
            if rule["also"] != true {
                return Ok(u8::try_from(rule["exit"].as_u64().unwrap_or(0)).unwrap_or(255));
            }
        }
        Err(format!("no rule for: {line}"))
    }

    fn take_effect(&self, rule: &Value, captures: &[String], reply: &mut Reply) -> Result<()> {
        let text = |text: &str| self.filled(text, captures);
        if let Some(gate) = rule["wait"].as_str() {
            let mut nothing = Vec::new();
            told(
                fs::File::open(self.folder.join(gate))
                    .and_then(|mut f| f.read_to_end(&mut nothing)),
            )?;
        }
        if rule["hang"] == true {
            // Without its parent it is nobody's.
            let parent = std::os::unix::process::parent_id();
            while std::os::unix::process::parent_id() == parent {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        for fact in texts(&rule["set"]) {
            for fact in each_word(fact, captures) {
                told(fs::write(self.fact(&text(&fact)), ""))?;
            }
        }
        for fact in texts(&rule["clear"]) {
            let _ = fs::remove_file(self.fact(&text(fact)));
        }
        for (fact, value) in entries(&rule["keep"]) {
            told(put(&self.fact(&text(fact)), &text(value)))?;
        }
        for (path, content) in entries(&rule["write"]) {
            let path = self.made_way(path)?;
            told(fs::write(path, text(content)))?;
        }
        for (path, content) in entries(&rule["append"]) {
            let path = self.made_way(path)?;
            let mut file = told(fs::File::options().append(true).create(true).open(path))?;
            told(file.write_all(text(content).as_bytes()))?;
        }
        for path in texts(&rule["give"]) {
            let path = self.path(path);
            told(chown(&path, Some(1002), Some(1002)))?;
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            told(fs::set_permissions(&path, fs::Permissions::from_mode(mode)))?;
        }
        for path in texts(&rule["remove"]) {
            let path = self.path(path);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
        for (from, to) in entries(&rule["moves"]) {
            for entry in told(fs::read_dir(self.path(from)))? {
                let entry = told(entry)?;
                told(fs::rename(
                    entry.path(),
                    self.path(to).join(entry.file_name()),
                ))?;
            }
        }
        for tool in texts(&rule["brings"]) {
            let link = self.folder.join(tool);
            let program = told(std::env::current_exe())?;
            match symlink(program, link) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error.to_string());
                }
                _ => {}
            }
        }
        match &rule["print"] {
            Value::Null => {}
            Value::String(said) => reply.print.extend([&text(said), "\n"]),
            json => reply.print.extend([&text(&json.to_string()), "\n"]),
        }
        if let Some(said) = rule["error"].as_str() {
            reply.error.extend([&text(said), "\n"]);
        }
        Ok(())
    }

    fn log(&self, file: &str, line: &str) -> Result<()> {
        let file = fs::File::options()
            .append(true)
            .create(true)
            .open(self.folder.join(file));
        told(file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())))
    }

    fn holds(&self, fact: &str) -> bool {
        if fact.starts_with('/') {
            self.path(fact).exists()
        } else {
            self.fact(fact).exists()
        }
    }

    fn fact(&self, name: &str) -> PathBuf {
        self.folder.join("facts").join(name.replace('/', "_"))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The path, whose folder exists then.
    fn made_way(&self, path: &str) -> Result<PathBuf> {
        let path = self.path(path);
        told(fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))))?;
        Ok(path)
    }

    /// `text` with `{1}`, `{@fact}` and `{now}` replaced; other braces stay.
    fn filled(&self, text: &str, captures: &[String]) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let value = from.find('}').and_then(|end| {
                let value = self.value(from.get(1..end)?, captures)?;
                Some((value, from.get(end + 1..)?))
            });
            if let Some((value, after)) = value {
                out.push_str(&value);
                rest = after;
            } else {
                out.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
        out + rest
    }

    fn value(&self, name: &str, captures: &[String]) -> Option<String> {
        if let Some(fact) = name.strip_prefix('@') {
            return Some(fs::read_to_string(self.fact(fact)).unwrap_or_default());
        }
        if name == "now" {
            return Some(jiff::Timestamp::now().to_string());
        }
        let number: usize = name.parse().ok()?;
        captures.get(number.checked_sub(1)?).cloned()
    }
}

/// What this process may do and hand on: the lines of proc_pid_status(5) that say so, in one.
fn rights() -> Result<String> {
    let status = told(fs::read_to_string("/proc/self/status"))?;
    let named = ["CapEff:", "CapBnd:", "NoNewPrivs:"];
    let lines = status
        .lines()
        .filter(|line| named.iter().any(|name| line.starts_with(name)));
    Ok(lines.collect::<Vec<_>>().join(" ").replace('\t', " "))
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn entries(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
}

/// `package {2*}` for each word of the second capture; all else as it is.
fn each_word(fact: &str, captures: &[String]) -> Vec<String> {
    for (index, capture) in captures.iter().enumerate() {
        let mark = format!("{{{}*}}", index + 1);
        if fact.contains(&mark) {
            return capture
                .split_whitespace()
                .map(|word| fact.replace(&mark, word))
                .collect();
        }
    }
    vec![fact.to_owned()]
}

/// What each `*` of `pattern` stands for, where `text` fits; the shortest that does.
fn captures(pattern: &str, text: &str) -> Option<Vec<String>> {
    let Some((head, tail)) = pattern.split_once('*') else {
        return (pattern == text).then(Vec::new);
    };
    let rest = text.strip_prefix(head)?;
    (0..=rest.len())
        .filter(|at| rest.is_char_boundary(*at))
        .find_map(|at| {
            let (this, after) = rest.split_at(at);
            let mut found = captures(tail, after)?;
            found.insert(0, this.to_owned());
            Some(found)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_captures_the_shortest_text_that_fits() {
        let some = |texts: &[&str]| Some(texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        assert_eq!(captures("a * c", "a b c"), some(&["b"]));
        assert_eq!(captures("rm *-* x", "rm a-b-c x"), some(&["a", "b-c"]));
        assert_eq!(captures("a", "a b"), None);
        assert_eq!(captures("a *", "b a"), None);
    }

    #[test]
    fn a_fact_is_made_for_each_word() {
        let captures = ["x".to_owned(), "one two".to_owned()];
        assert_eq!(
            each_word("package {2*}", &captures),
            ["package one", "package two"]
        );
        assert_eq!(each_word("package {2}", &captures), ["package {2}"]);
    }

    #[test]
    fn braces_that_name_nothing_stay() {
        let call = Call {
            folder: "/nowhere".into(),
            root: "/nowhere".into(),
            line: String::new(),
        };
        let filled = call.filled(r#"{"a":{"b":"{1}"},"c":"{2}"} {"#, &["x".to_owned()]);
        assert_eq!(filled, r#"{"a":{"b":"x"},"c":"{2}"} {"#);
    }
}
