//! Generates the gRPC code from `proto/`, with protox in the place of `protoc`, so that nobody needs to install one.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["store.proto", "data.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::api::codec::BoundedCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
