//! The lines of Rust that apply a setting in a program of one's own, cut out of examples that are
//! compiled with everything else.

use std::path::PathBuf;

use firstpass_probe::{Description, Knobs, WARM_UP, warm_up_passes};
use firstpass_trial::{engine::Backend, workspace::Workspace};

/// The lines that apply all settings of a backend, as markdown; what the environment carries out is
/// said in words.
pub(crate) fn lines(
    workspace: &Workspace,
    backend: &Backend,
    description: Option<&Description>,
    knobs: &Knobs,
) -> Vec<String> {
    let sources: Vec<String> = sources(workspace, backend)
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect();
    let mut parts = Vec::new();
    for (name, value) in knobs.settings() {
        let declared = description.and_then(|d| d.knobs.iter().find(|k| k.name == name));
        let variable = declared.and_then(|k| k.variable.as_ref());
        if let Some(variable) = variable {
            let value = variable.values.get(value).map_or("", String::as_str);
            parts.push(format!(
                "`{name}`: in the environment of the program, before it starts:\n\n```sh\n{}={value} \
                 your-program\n```",
                variable.name
            ));
            continue;
        }
        if declared.is_some_and(|knob| !knob.parts().is_empty()) {
            let found = sources.iter().find_map(|text| cut(text, name, "LIST"));
            parts.extend(
                found.map(|lines| {
                    format!("`{name}`:\n\n```rust\nlet list = {value:?};\n{lines}\n```")
                }),
            );
            continue;
        }
        // The kept memory is what the others stand on.
        let needs_keep = name == firstpass_probe::ALLOCATOR && value != "keep";
        let values = if needs_keep {
            vec!["keep", value]
        } else {
            vec![value]
        };
        let found: Vec<String> = values
            .iter()
            .filter_map(|value| sources.iter().find_map(|text| cut(text, name, value)))
            .collect();
        if found.len() == values.len() {
            parts.push(format!(
                "`{name}={value}`:\n\n```rust\n{}\n```",
                found.join("\n")
            ));
        } else if name == WARM_UP {
            let how = match warm_up_passes(knobs) {
                Some(1) => "once on zeros".into(),
                Some(passes) => format!("{passes} times on zeros"),
                None => "once on zeros of a quarter of the height and width".into(),
            };
            parts.push(format!(
                "`{name}={value}`: run the model {how} before the first request."
            ));
        } else {
            parts.push(format!(
                "`{name}={value}`: ⚠ no example shows the lines that apply it."
            ));
        }
    }
    parts
}

/// Where the lines of a backend's knobs are, and those of the process.
fn sources(workspace: &Workspace, backend: &Backend) -> Vec<PathBuf> {
    vec![
        backend
            .dir
            .join("examples")
            .join(format!("settings-{}.rs", backend.name)),
        workspace.root().join("suite/probe/examples/settings.rs"),
    ]
}

/// The lines between `// knob NAME=VALUE` and `// end`, without their common indentation.
fn cut(text: &str, name: &str, value: &str) -> Option<String> {
    let begin = format!("// knob {name}={value}");
    let mut lines = text.lines().skip_while(|line| line.trim() != begin);
    lines.next()?;
    let lines: Vec<&str> = lines.take_while(|line| line.trim() != "// end").collect();
    let indented = lines.iter().filter(|line| !line.trim().is_empty());
    let indent = indented
        .map(|line| line.len() - line.trim_start().len())
        .min()?;
    let cut = lines.iter().map(|line| line.get(indent..).unwrap_or(""));
    Some(cut.collect::<Vec<_>>().join("\n").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_out_and_moved_to_the_left() {
        let text = "fn f() {\n    // knob a=on\n    set(\n        1,\n    );\n\n    // end\n    // knob \
                    b=x\n    other();\n    // end\n}\n";
        assert_eq!(cut(text, "a", "on").as_deref(), Some("set(\n    1,\n);"));
        assert_eq!(cut(text, "b", "x").as_deref(), Some("other();"));
        assert_eq!(cut(text, "a", "off"), None);
    }

    #[test]
    fn the_settings_of_the_process_have_their_lines() {
        let workspace = Workspace::find().expect("tests run in the workspace");
        let text =
            std::fs::read_to_string(workspace.root().join("suite/probe/examples/settings.rs"));
        let text = text.expect("the example is there");
        for value in ["keep", "huge-pages", "populated"] {
            assert!(
                cut(&text, firstpass_probe::ALLOCATOR, value).is_some(),
                "{value}"
            );
        }
    }
}
