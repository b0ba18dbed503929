//! Says what a build of the node is made of beside its sources: texts, templates and files of pages, which macros read.

fn main() {
    for folder in ["assets", "locales", "templates"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
