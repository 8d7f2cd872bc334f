//! `roost-bindgen MODULE.wasm DIRECTORY`: what a page or Node imports, from what the compiler made.
//!
//! The tool of the same version as the library, built by the workspace: nothing is fetched that the lock file does not name.

use anyhow::Context as _;
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(module), Some(directory), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: roost-bindgen MODULE.wasm DIRECTORY");
    };
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    bindgen.input_path(&module).typescript(true).omit_default_module_path(true).web(true)?.out_name("roost");
    bindgen.generate(&directory).with_context(|| format!("{} cannot be bound", module.display()))
}
