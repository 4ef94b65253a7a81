//! Looks at the module that the probe was built to: `check MODULE.wasm`.
//!
//! It may import nothing, and must answer as the same code does natively. `cargo xtask test` builds it and calls this.

use std::io::{Write, stdout};

use anyhow::{Context, Result, bail, ensure};
use kubenet_wasm_probe::answer;
use wasmi::{Engine, Linker, Module, Store, TypedFunc};

/// What the module may ask of its host.
const DECLARED_IMPORTS: &[&str] = &[];

const CLUSTER: &str = "
apiVersion: v1
kind: Pod
metadata: { name: a }
spec: { containers: [{ name: main }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: b }
spec:
  replicas: 2
  template:
    metadata: { labels: { app: b } }
    spec: { containers: [{ name: main, ports: [{ containerPort: 80 }] }] }
";

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("which module?")?;
    let module_bytes = std::fs::read(&path).with_context(|| path.clone())?;
    let engine = Engine::default();
    let module = Module::new(&engine, &module_bytes)?;

    let imports: Vec<String> =
        module.imports().map(|import| format!("{}.{}", import.module(), import.name())).collect();
    let undeclared: Vec<&String> =
        imports.iter().filter(|import| !DECLARED_IMPORTS.contains(&import.as_str())).collect();
    ensure!(undeclared.is_empty(), "the module imports what nobody declared: {undeclared:?}");

    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate_and_start(&mut store, &module)?;
    let put: TypedFunc<u32, ()> = instance.get_typed_func(&store, "put")?;
    let run: TypedFunc<(), u32> = instance.get_typed_func(&store, "run")?;
    let get: TypedFunc<u32, u32> = instance.get_typed_func(&store, "get")?;
    for byte in CLUSTER.bytes() {
        put.call(&mut store, byte.into())?;
    }
    let length = run.call(&mut store, ())?;
    let bytes =
        (0..length).map(|place| Ok(get.call(&mut store, place)? as u8)).collect::<Result<Vec<u8>>>()?;
    let (got, native) = (String::from_utf8(bytes)?, answer(CLUSTER));

    ensure!(got == native, "the module says\n{got}\nand the native build says\n{native}");
    if !(got.contains("default/a [") && got.lines().any(|line| line.starts_with("connected"))) {
        bail!("no pod or no answer to its client:\n{got}");
    }
    let (lines, kib) = (got.lines().count(), module_bytes.len().div_ceil(1024));
    writeln!(stdout(), "{} imports, {lines} lines as natively, {kib} KiB", imports.len())?;
    Ok(())
}
