//! `kubenet trace`.

use std::collections::BTreeMap;

use anstyle::Style as Ansi;
use anyhow::{Context, bail};
use kubenet_core::network::{Limits, Question};
use kubenet_core::trace::{
    Assumption, Case, Chance, Detail, End, Line, LineKind, Style, Trace, lines, mermaid, pcapng,
};

use crate::args::{TraceArgs, TraceOutput};
use crate::output::{Out, clean, paint, style};
use crate::{BAD_INPUT, diagnostics, input};

/// How many assumptions are told when nobody asks for all.
const ASSUMPTIONS: usize = 5;

pub(crate) fn trace(args: &TraceArgs, out: &mut Out) -> anyhow::Result<u8> {
    if args.output == TraceOutput::Pcapng && Out::is_terminal() {
        bail!("a capture file is no text for a terminal; write it to a file: -o pcapng > trace.pcapng");
    }
    let question = question(args)?;
    let network = input::network(&args.input)?;
    let traces = match network.traces(&question) {
        Ok(traces) => traces,
        Err(error) => {
            diagnostics::tell_question(&error);
            return Ok(BAD_INPUT);
        }
    };
    match args.output {
        TraceOutput::Text => {
            for (place, trace) in traces.iter().enumerate() {
                if place > 0 {
                    out.line("")?;
                }
                text(args, trace, out)?;
            }
        }
        // One object each, so that every one follows the schema.
        TraceOutput::Json => traces.iter().try_for_each(|trace| out.json(trace))?,
        TraceOutput::Mermaid => {
            for trace in &traces {
                for case in &trace.outcomes {
                    out.bytes(mermaid(trace, case).as_bytes())?;
                }
            }
        }
        TraceOutput::Pcapng => match &traces[..] {
            [one] => out.bytes(&one.outcomes.first().map(pcapng).unwrap_or_default())?,
            all => bail!("the question means {} traces; a capture file holds one", all.len()),
        },
    }
    if network.has_errors() {
        return Ok(BAD_INPUT);
    }
    let statuses = || traces.iter().map(Trace::exit_status);
    // One that fails is worse than one that is not known.
    Ok(if statuses().any(|status| status == 1) { 1 } else { statuses().max().unwrap_or(0) })
}

fn question(args: &TraceArgs) -> anyhow::Result<Question> {
    let mut pins = BTreeMap::new();
    for text in &args.pin {
        let (point, value) = text
            .rsplit_once('=')
            .with_context(|| format!("--pin {text}: expected POINT=VALUE, where VALUE counts from 0"))?;
        pins.insert(point.to_string(), value.parse().with_context(|| format!("--pin {text}"))?);
    }
    let chance = if args.explore {
        Chance::Explored { branches: Limits::default().branches }
    } else {
        Chance::Seeded { seed: args.seed, pins }
    };
    Ok(Question {
        namespace: args.input.namespace.clone(),
        protocol: args.proto,
        family: args.family,
        sport: args.sport,
        payload: args.payload,
        chance,
        ..Question::new(&args.from, &args.to)
    })
}

fn text(args: &TraceArgs, trace: &Trace, out: &mut Out) -> anyhow::Result<()> {
    let asked = &trace.question;
    out.line(&format!("{} → {} {}", end(&asked.from), end(&asked.to), asked.protocol))?;
    for words in &asked.said {
        out.line(&paint(style::DIM, &format!("({words})")))?;
    }
    let detail = if args.brief { Detail::Changes } else { Detail::Full };
    let several = trace.outcomes.len() > 1;
    for (place, case) in trace.outcomes.iter().enumerate() {
        out.line("")?;
        if several {
            let title =
                format!("case {} of {}, probability {}", place + 1, trace.outcomes.len(), case.probability);
            out.line(&paint(style::PLACE, &title))?;
            for taken in &case.choices {
                out.line(&paint(
                    style::DIM,
                    &format!("  {} = {} of {}", taken.point, taken.index, taken.of),
                ))?;
            }
        }
        case_text(trace, case, detail, out)?;
    }
    if trace.unexplored.to_string() != "0" {
        out.line(&paint(style::OPEN, &format!("not explored: probability {}", trace.unexplored)))?;
    }
    assumptions(args, &trace.assumptions, out)
}

/// `shop/web-6c9d… 10.244.0.12`.
fn end(end: &End) -> String {
    let name = end.who.as_ref().map_or_else(|| end.text.to_string(), ToString::to_string);
    let at = match (end.ip, end.port) {
        (Some(ip), Some(port)) if ip.is_ipv6() => format!(" ([{ip}]:{port})"),
        (Some(ip), Some(port)) => format!(" ({ip}:{port})"),
        (Some(ip), None) => format!(" ({ip})"),
        (None, Some(port)) => format!(" (port {port})"),
        (None, None) => String::new(),
    };
    format!("{}{}", paint(style::PLACE, &name), clean(&at))
}

fn case_text(trace: &Trace, case: &Case, detail: Detail, out: &mut Out) -> anyhow::Result<()> {
    let mut place = String::new();
    let mut in_reply = false;
    for line in lines(trace, case, detail) {
        let number = match line.kind {
            LineKind::Hop(number) => number,
            LineKind::ReplyHop(number) => {
                if !in_reply {
                    out.line("")?;
                    out.line(&paint(style::DIM, "the answer"))?;
                    place.clear();
                    in_reply = true;
                }
                number
            }
            LineKind::Aside => {
                if place != "*" {
                    out.line("")?;
                    out.line(&paint(style::DIM, "also lost on the way"))?;
                    place = "*".into();
                }
                wrapped(&format!("      {} {} ", clean(&line.place), clean(&line.device)), &line, out)?;
                continue;
            }
            LineKind::Outcome | LineKind::Verdict => {
                ending(&line, out)?;
                place.clear();
                continue;
            }
        };
        if line.place != place {
            out.line(&paint(style::PLACE, &line.place))?;
            place.clone_from(&line.place);
        }
        let head = format!("{number:>4}  {:<11} {:<13} ", clean(&line.stage), clean(&line.device));
        wrapped(&head, &line, out)?;
    }
    Ok(())
}

/// A line below its head, with what decided behind it, or below it where the terminal is too narrow.
fn wrapped(head: &str, line: &Line, out: &mut Out) -> anyhow::Result<()> {
    let origin = line.origin_words();
    if origin.is_empty() {
        return out.line(&format!("{head}{}", body(line)));
    }
    let used = head.chars().count() + line.text().chars().count() + 2 + origin.chars().count();
    let painted = paint(style::DIM, &origin);
    if out.width.is_none_or(|width| used <= width) {
        return out.line(&format!("{head}{}  {painted}", body(line)));
    }
    out.line(&format!("{head}{}", body(line)))?;
    out.line(&format!("      {painted}"))
}

fn body(line: &Line) -> String {
    line.parts.iter().map(|(style, text)| paint(ansi(*style), text)).collect()
}

fn ending(line: &Line, out: &mut Out) -> anyhow::Result<()> {
    let word = line.parts.first().map_or(Ansi::new(), |(style, _)| ansi(*style));
    out.line("")?;
    out.line(&format!("{} {}", paint(word, &format!("{:<10}", line.stage)), body(line)))?;
    let origin = line.origin_words();
    if !origin.is_empty() {
        out.line(&format!("           {}", paint(style::DIM, &origin)))?;
    }
    Ok(())
}

fn assumptions(args: &TraceArgs, all: &[Assumption], out: &mut Out) -> anyhow::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let told = if args.all_assumptions { all.len() } else { ASSUMPTIONS };
    for (place, assumption) in all.iter().take(told).enumerate() {
        let head = if place == 0 { "assuming  " } else { "          " };
        let mark = if assumption.decisive { " (decides)" } else { "" };
        let text = paint(style::DIM, &format!(" {}{mark} [{}]", assumption.text, assumption.key));
        out.line(&format!("{}{text}", paint(style::DIM, head)))?;
    }
    if all.len() > told {
        out.line(&paint(
            style::DIM,
            &format!("           and {} more (--all-assumptions)", all.len() - told),
        ))?;
    }
    Ok(())
}

const fn ansi(style: Style) -> Ansi {
    match style {
        Style::Plain => style::PLAIN,
        Style::Place => style::PLACE,
        Style::Stage | Style::Origin => style::DIM,
        Style::Changed => style::CHANGED,
        Style::Good => style::GOOD,
        Style::Bad => style::BAD,
        Style::Open => style::OPEN,
    }
}
