#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| labrys_fuzz::run("edn", text));
