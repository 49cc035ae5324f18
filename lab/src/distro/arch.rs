//! Debian's names of architectures.

use rpmfarm_core::Arch;

/// Debian's name of the architecture.
#[must_use]
pub(super) const fn debian(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
        Arch::Ppc64le => "ppc64el",
    }
}

/// The directory below `/usr/lib` that has Debian's libraries.
#[must_use]
pub(super) const fn triplet(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64-linux-gnu",
        Arch::Aarch64 => "aarch64-linux-gnu",
        Arch::Ppc64le => "powerpc64le-linux-gnu",
    }
}

/// rpm's value of `%{?_isa}` for the architecture.
#[must_use]
pub(super) const fn isa(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "(x86-64)",
        Arch::Aarch64 => "(aarch-64)",
        Arch::Ppc64le => "(ppc-64)",
    }
}
