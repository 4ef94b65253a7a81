//! What continuous integration must be able to do.

use std::path::Path;

/// The file that lists it.
pub(crate) const FILE: &str = "ci/capabilities.toml";

/// The steps that `ci/capabilities.toml` requires of a machine where `CI` is `true`.
///
/// # Errors
///
/// Where the file is absent, or `required` is not a list of names.
pub(crate) fn required(root: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(root.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
    parse(&text).map_err(|error| format!("{FILE}: {error}"))
}

fn parse(text: &str) -> Result<Vec<String>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let names = table.get("required").and_then(toml::Value::as_array).ok_or("there is no list `required`")?;
    let name = |value: &toml::Value| {
        value.as_str().map(Into::into).ok_or_else(|| format!("{value:?} is not the name of a step"))
    };
    names.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::steps::STEPS;

    #[test]
    fn what_is_required_is_a_step() {
        let machine = Machine::here().expect("the repository");
        for name in required(&machine.root).expect("the list") {
            assert!(STEPS.iter().any(|step| step.name == name), "{FILE} requires {name:?}, which is no step");
        }
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        assert!(parse("needed = []").is_err());
        assert!(parse("required = [1]").is_err());
        assert_eq!(parse("required = [\"fmt\"]"), Ok(vec!["fmt".into()]));
    }
}
