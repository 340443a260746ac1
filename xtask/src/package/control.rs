//! What the package says of itself: its control file. Pure.

use std::fmt;

use anyhow::{Context, Result, bail};

/// A package's control file.
pub(super) struct Control<'a> {
    pub(super) version: &'a str,
    /// By Debian's name: `amd64`.
    pub(super) architecture: &'a str,
    /// The oldest C library that has what the binary calls: `2.34`.
    pub(super) libc: &'a str,
    /// What it takes when it is installed.
    pub(super) kilobytes: u64,
}

impl fmt::Display for Control<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Control { version, architecture, libc, kilobytes } = self;
        writeln!(f, "Package: sluice\nVersion: {version}\nArchitecture: {architecture}")?;
        writeln!(f, "Maintainer: The Sluice maintainers <maintainers@sluice.invalid>")?;
        writeln!(f, "Installed-Size: {kilobytes}\nSection: net\nPriority: optional")?;
        writeln!(
            f,
            "Depends: libc6 (>= {libc}), libgcc-s1, systemd | systemd-standalone-sysusers, systemd | \
             systemd-standalone-tmpfiles"
        )?;
        writeln!(f, "Recommends: iproute2")?;
        writeln!(f, "Description: layer-4 load balancer in XDP")?;
        for line in DESCRIPTION.lines() {
            writeln!(f, " {line}")?;
        }
        Ok(())
    }
}

const DESCRIPTION: &str = "\
Sluice balances TCP, UDP and QUIC flows over targets by consistent hashing,
in an XDP program of the node, and encapsulates packets (IPIP, GUE) so that
targets answer clients directly. It checks targets' health, drains them, and
keeps established connections where they are when targets come and go.
.
The package has the controller of a node, the agent of a target and the
command line; it starts neither.";

/// Debian's name of this machine's architecture.
pub(super) fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no package is known for {other}: x86_64 and aarch64 have one"),
    }
}

/// The newest version of the C library's symbols that `objdump -T` lists.
pub(super) fn libc_version(symbols: &str) -> Result<String> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?;
        let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
        numbers.map(|numbers| (numbers, version))
    });
    let (_, newest) = versions.max().context("the binary calls no C library: is it a binary?")?;
    Ok(newest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_decides_on_the_c_library() {
        let symbols = "0 DF *UND* 0 (GLIBC_2.9) a\n0 DF *UND* 0 (GLIBC_2.34) b\n0 DF *UND* 0 (GLIBC_2.3.4) c\n\
                       0 DF *UND* 0 (GCC_3.0) d\n";
        assert_eq!(libc_version(symbols).unwrap(), "2.34");
        assert!(libc_version("").is_err());
    }

    #[test]
    fn a_control_file_is_paragraphs_that_debian_reads() {
        let control =
            Control { version: "1.2.3", architecture: "amd64", libc: "2.34", kilobytes: 7 }.to_string();
        assert!(control.starts_with("Package: sluice\nVersion: 1.2.3\nArchitecture: amd64\n"));
        assert!(control.contains("libc6 (>= 2.34)"));
        assert!(control.contains("\n .\n") && control.ends_with(".\n"), "{control}");
    }
}
