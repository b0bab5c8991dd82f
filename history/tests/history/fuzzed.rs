//! The committed corpus of the fuzz targets, and every input that ever made one of them fail, through the same functions.

use std::path::Path;

#[path = "../../../fuzz/src/lib.rs"]
pub mod checks;

#[test]
fn every_input_of_the_corpus_passes_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (target, _) in checks::TARGETS {
        let mut inputs = 0;
        for input in
            std::fs::read_dir(corpus.join(target)).unwrap_or_else(|error| panic!("{target}: {error}"))
        {
            let path = input.unwrap().path();
            let text = std::fs::read(&path).unwrap();
            if let Err(panic) = std::panic::catch_unwind(|| checks::run(target, &text)) {
                eprintln!("the input is {}", path.display());
                std::panic::resume_unwind(panic);
            }
            inputs += 1;
        }
        assert!(inputs >= 5, "{target} has {inputs} inputs");
    }
}

#[test]
fn every_folder_of_the_corpus_and_every_file_of_the_targets_belongs_to_a_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let named = |folder: &str| {
        let mut names: Vec<String> = std::fs::read_dir(fuzz.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let mut targets: Vec<&str> = checks::TARGETS.iter().map(|(name, _)| *name).collect();
    targets.sort_unstable();
    assert_eq!(named("corpus"), targets);
    assert_eq!(named("targets"), targets);
}
