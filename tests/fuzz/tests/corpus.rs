//! Every seed, and every input that once broke something, through the body of its target.

use std::{fs, path::Path};

#[test]
fn all_seeds_pass() {
    for (name, target) in exitgate_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name);
        let mut seeds = 0;
        for entry in
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            // The name stays visible when the body panics.
            eprintln!("{name}/{}", path.file_name().unwrap_or_default().display());
            target(&bytes);
            // A cut seed is a seed too.
            for part in 1..8 {
                target(&bytes[..bytes.len() * part / 8]);
            }
            seeds += 1;
        }
        assert!(seeds >= 5, "{name} has {seeds} seeds");
    }
}
