//! Architectures: those the farm builds for, and the words that RPM headers use.

words! {
    /// An architecture that a target builds for.
    pub enum Arch: "architecture" {
        /// AMD64 / Intel 64.
        X86_64 = "x86_64",
        /// 64-bit Arm.
        Aarch64 = "aarch64",
        /// 64-bit POWER, little endian.
        Ppc64le = "ppc64le",
    }
}

impl Arch {
    /// Whether a package with this architecture word can be installed here.
    #[must_use]
    pub fn accepts(self, package_arch: &str) -> bool {
        package_arch == self.as_str() || package_arch == "noarch"
    }
}
