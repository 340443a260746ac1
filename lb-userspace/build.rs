//! Tells the crate where the compiled eBPF programs are, so that the binary carries them inside.
//!
//! `cargo xtask build` puts them into `target/bpf`. Without them the crate still compiles (editors, clippy,
//! tests without root); a binary made that way says at run time that it lacks its programs.

use std::path::{Path, PathBuf};
use std::{env, fs};

const PROGRAMS: [&str; 2] = ["balancer", "agent"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rerun-if-env-changed=SLUICE_BPF_DIR");
    for program in PROGRAMS {
        let object = programs_directory(&out).join(program);
        println!("cargo:rerun-if-changed={}", object.display());
        let embedded = if object.is_file() { object } else { placeholder(&out, program) };
        println!("cargo:rustc-env=SLUICE_BPF_{}={}", program.to_uppercase(), embedded.display());
    }
}

/// `SLUICE_BPF_DIR`, or `bpf` in the target directory that this build writes to
/// (`OUT_DIR` is `TARGET/PROFILE/build/CRATE-HASH/out`).
fn programs_directory(out: &Path) -> PathBuf {
    match env::var_os("SLUICE_BPF_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => out.ancestors().nth(4).expect("OUT_DIR lies in the target directory").join("bpf"),
    }
}

fn placeholder(out: &Path, program: &str) -> PathBuf {
    let path = out.join(program);
    fs::write(&path, []).expect("OUT_DIR is writable");
    path
}
