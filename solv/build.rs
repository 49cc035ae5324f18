//! Finds the system's libsolv and compiles the few lines of C that know its structs.

fn main() {
    println!("cargo:rerun-if-changed=src/shim.c");
    let find = |name: &str| {
        pkg_config::Config::new().atleast_version("0.7.20").probe(name).unwrap_or_else(|error| {
            panic!("{name} is missing (Debian: apt install libsolv-dev libsolvext-dev): {error}")
        })
    };
    let ext = find("libsolvext");
    let solv = find("libsolv");
    cc::Build::new()
        .file("src/shim.c")
        .includes(ext.include_paths.iter().chain(&solv.include_paths))
        .compile("rpmfarm_solv_shim");
}
