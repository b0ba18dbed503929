//! Breaking a node on purpose, so that the checks of the demo can be seen to fail (decision 0011).
//!
//! `VOUCHER_BREAK=name,name` in a node's environment switches misbehaviours on; each stands where the behaviour is, as
//! `if misbehaves("name")`. Builds without debug assertions, such as a release, have none of it: there [`misbehaves`] is the
//! constant `false`, and neither the variable nor a misbehaviour is left in the program.

/// Whether this process is to misbehave in this way.
#[cfg(debug_assertions)]
#[must_use]
pub fn misbehaves(name: &str) -> bool {
    static NAMES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let text = std::env::var("VOUCHER_BREAK").unwrap_or_default();
        let names: Vec<String> = text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if !names.is_empty() {
            tracing::warn!(?names, "this node misbehaves on purpose");
        }
        names
    });
    names.iter().any(|known| known == name)
}

/// A build without debug assertions behaves.
#[cfg(not(debug_assertions))]
#[must_use]
pub const fn misbehaves(_name: &str) -> bool {
    false
}
