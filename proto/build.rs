//! Compiles the protos without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["common", "workers", "signer", "farm", "sources"]
        .map(|name| format!("rpmfarm/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
