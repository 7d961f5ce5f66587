//! Reads the files that the rules look at.

use std::collections::BTreeMap;
use std::path::Path;

/// Relative path, with slashes, and text of each file.
pub type Files = BTreeMap<String, String>;

const DIRECTORIES: &[&str] = &["src", "raft", "store", "sim", "tests", "scripts", ".ci"];
const EXTENSIONS: &[&str] = &["rs", "toml", "md", "sh", "py", "js", "conf"];

pub fn read(root: &Path) -> Files {
    let mut files = Files::new();
    read_directory(root, root, &mut files, false);
    for directory in DIRECTORIES {
        read_directory(root, &root.join(directory), &mut files, true);
    }
    files
}

fn read_directory(root: &Path, directory: &Path, files: &mut Files, deep: bool) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let built = ["target", "node_modules", "quorumq-data"].contains(&name.as_str());
        if path.is_dir() {
            if deep && !built {
                read_directory(root, &path, files, true);
            }
        } else if is_text(&path)
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            let relative = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            files.insert(relative, text);
        }
    }
}

/// By its ending; a file without one is a script.
fn is_text(path: &Path) -> bool {
    match path.extension() {
        Some(extension) => EXTENSIONS.iter().any(|known| extension == *known),
        None => path.file_name().is_some_and(|name| name != "LICENSE" && name != ".git"),
    }
}
