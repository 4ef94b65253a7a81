//! `kubenet render`.

use anyhow::bail;

use crate::args::RenderArgs;
use crate::input;
use crate::output::Out;

pub(crate) fn render(args: &RenderArgs, _out: &mut Out) -> anyhow::Result<u8> {
    let _network = input::network(&args.input)?;
    bail!("{:?} {} {}", args.table, args.what, args.json)
}
