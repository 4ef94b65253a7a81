//! Standard output and standard error: colour only on a terminal, and no control characters from the input.

use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

/// Standard output.
pub(crate) struct Out {
    stream: AutoStream<io::Stdout>,
    /// The terminal's width; `None` where there is no terminal, and lines are as long as they are.
    pub(crate) width: Option<usize>,
}

impl Out {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let width = terminal.then(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)));
        Self { stream: AutoStream::auto(stdout), width: width.flatten().map(|width| width.max(40)) }
    }

    /// Whether a person looks at it.
    pub(crate) fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// One line.
    pub(crate) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.stream, "{text}")?)
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut raw = io::stdout().lock();
        raw.write_all(bytes)?;
        Ok(raw.flush()?)
    }

    /// Data as JSON, ended by a newline.
    pub(crate) fn json<T: serde::Serialize>(&mut self, data: &T) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(data)?;
        text.push(b'\n');
        self.bytes(&text)
    }
}

/// Green, red, yellow and their like, as this program uses them.
pub(crate) mod style {
    use super::{AnsiColor, Style};

    pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
    pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
    pub(crate) const OPEN: Style = AnsiColor::Yellow.on_default().bold();
    pub(crate) const CHANGED: Style = AnsiColor::Cyan.on_default();
    pub(crate) const PLACE: Style = Style::new().bold();
    pub(crate) const DIM: Style = Style::new().dimmed();
    pub(crate) const PLAIN: Style = Style::new();
}

/// Text in a style, as a terminal takes it. Control characters of the text are shown, not obeyed.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{}{style:#}", clean(text))
}

/// Shows control characters (escape sequences and line ends in names, say) and characters that turn the writing direction.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if turns || c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// An error, with its causes on one line.
pub(crate) fn error(error: &anyhow::Error) {
    let mut stderr = anstream::stderr();
    let word = paint(style::BAD, "error");
    let _gone = writeln!(stderr, "{word}: {}", clean(&format!("{error:#}")));
}

/// Something that the user may want to know, on standard error.
#[cfg(target_os = "linux")]
pub(crate) fn note(text: &str) {
    let word = paint(style::DIM, "note");
    let _gone = writeln!(anstream::stderr(), "{word}: {}", clean(text));
}

/// Whether an error is that nobody reads on.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
