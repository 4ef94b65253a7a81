//! `kubenet render`.

use kubenet_core::network::RenderError;

use crate::args::RenderArgs;
use crate::output::Out;
use crate::{BAD_INPUT, diagnostics, input};

pub(crate) fn render(args: &RenderArgs, out: &mut Out) -> anyhow::Result<u8> {
    let network = input::network(&args.input)?;
    match network.render(&args.what, &args.input.namespace, args.table, args.json) {
        Ok(text) => {
            out.bytes(text.as_bytes())?;
            if !text.is_empty() && !text.ends_with('\n') {
                out.bytes(b"\n")?;
            }
        }
        Err(RenderError::What(error)) => {
            diagnostics::tell_words("NODE|POD", &error);
            return Ok(BAD_INPUT);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(if network.has_errors() { BAD_INPUT } else { 0 })
}
